from django.db import migrations, models
import django.utils.timezone

STATUSES = [
    ('application', 'Application'), ('confirmation', 'Confirmation'),
    ('verification', 'Verification'), ('interview', 'Interview'),
    ('decision', 'Decision'), ('employment', 'Employment')]


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name='Tag',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40, unique=True)),
            ],
            options={'ordering': ['name']},
        ),
        migrations.CreateModel(
            name='Candidate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('first_name', models.CharField(max_length=60)),
                ('last_name', models.CharField(max_length=60)),
                ('email', models.EmailField(max_length=254, unique=True)),
                ('phone', models.CharField(blank=True, max_length=30)),
                ('city', models.CharField(blank=True, max_length=60)),
                ('position', models.CharField(max_length=80)),
                ('status', models.CharField(choices=STATUSES, default='application', max_length=20)),
                ('birth_date', models.DateField(blank=True, null=True)),
                ('experience', models.PositiveSmallIntegerField(default=0, verbose_name='years of experience')),
                ('applied_on', models.DateField(default=django.utils.timezone.localdate)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('tags', models.ManyToManyField(blank=True, related_name='candidates', to='candidates.Tag')),
            ],
            options={'ordering': ['-applied_on', '-id']},
        ),
    ]
