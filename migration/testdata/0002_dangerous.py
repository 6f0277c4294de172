from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def forwards(apps, schema_editor):
    Customer = apps.get_model("shop", "Customer")
    dependencies = []
    Customer.objects.update(name="x")


class Migration(migrations.Migration):
    """dependencies = [("not", "this")]"""

    atomic = False
    dependencies = (
        ("shop", "0001_" "initial"),  # ("shop", "0000_no"),
    )
    operations = [
        migrations.RemoveField(model_name="customer", name="status"),
        migrations.RenameField("customer", "nick", "nickname"),
        migrations.RenameModel(old_name="Customer", new_name="Client"),
        migrations.DeleteModel(name="Old"),
        migrations.AddField(
            model_name="order", name="paid",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(model_name="order", name="note", field=models.TextField(null=True)),
        migrations.AddField("order", "tags", models.ManyToManyField(to="shop.Tag")),
        migrations.AddField("order", "rank", models.IntegerField(db_default=0)),
        migrations.AlterField(model_name='customer', name='name', field=models.TextField()),
        migrations.AlterField(model_name='customer', name='status', field=models.CharField(max_length=9)),
        migrations.AddIndex(model_name="order", index=models.Index(fields=["paid"], name="paid_idx")),
        AddIndexConcurrently("order", models.Index(fields=["note"], name="note_idx")),
        migrations.CreateModel(name="Basket", fields=[("id", models.AutoField(primary_key=True))]),
        migrations.AddField("basket", "sum", models.IntegerField()),
        migrations.AddIndex("basket", models.Index(fields=["sum"], name="sum_idx")),
        migrations.RunSQL("UPDATE shop_order SET note = 'it''s'"),
        migrations.RunSQL(sql="SELECT 1", reverse_sql=migrations.RunSQL.noop),
        migrations.RunPython(forwards),
        migrations.RunPython(forwards, lambda apps, se: None),
        migrations.RunPython(forwards, reverse_code=None),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL("DROP TABLE x")],
            state_operations=[migrations.DeleteModel("Ghost")],
        ),
    ]
