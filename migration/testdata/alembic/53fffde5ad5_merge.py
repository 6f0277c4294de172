"""merge ae10 and 27c6

Revision ID: 53fffde5ad5
Revises: ae1027a6acf, 27c6a30d7c24
Create Date: 2026-03-20 13:31:16.031442
"""

# revision identifiers, used by Alembic.
revision = '53fffde5ad5'
down_revision = ('ae1027a6acf', '27c6a30d7c24')

from alembic import op


def upgrade():
    pass


def downgrade():
    pass
