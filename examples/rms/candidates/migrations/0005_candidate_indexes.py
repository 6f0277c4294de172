from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('candidates', '0004_candidate_cv'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='candidate',
            index=models.Index(fields=['status', '-applied_on'], name='candidate_status_applied'),
        ),
        migrations.AddIndex(
            model_name='candidate',
            index=models.Index(fields=['city'], name='candidate_city'),
        ),
    ]
