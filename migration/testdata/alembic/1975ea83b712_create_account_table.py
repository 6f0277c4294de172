"""create account table

Revision ID: 1975ea83b712
Revises:
Create Date: 2026-01-08 11:40:27.089406

"""
from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision = '1975ea83b712'
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        'account',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('name', sa.String(50), nullable=False),
        sa.Column('description', sa.Unicode(200)),
    )
    op.create_index(op.f('ix_account_name'), 'account', ['name'], unique=False)


def downgrade():
    op.drop_table('account')
