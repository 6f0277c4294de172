from django.conf import settings
from django.db import migrations, models
import django.db.models.deletion
import django.utils.timezone

STATUSES = [
    ('application', 'Application'), ('confirmation', 'Confirmation'),
    ('verification', 'Verification'), ('interview', 'Interview'),
    ('decision', 'Decision'), ('employment', 'Employment')]


class Migration(migrations.Migration):

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('candidates', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='StatusChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('before', models.CharField(choices=STATUSES, max_length=20)),
                ('after', models.CharField(choices=STATUSES, max_length=20)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
                ('candidate', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='status_changes', to='candidates.candidate')),
            ],
            options={'ordering': ['-at', '-id']},
        ),
    ]
