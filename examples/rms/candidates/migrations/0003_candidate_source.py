from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('candidates', '0002_statuschange'),
    ]

    operations = [
        migrations.AddField(
            model_name='candidate',
            name='source',
            field=models.CharField(choices=[('website', 'Website'), ('referral', 'Referral'), ('linkedin', 'LinkedIn'), ('fair', 'Job fair'), ('agency', 'Agency')], default='website', max_length=20),
        ),
    ]
