from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError
from django.test import TestCase, override_settings

TESTING = dict(settings.RUNNING, instance='testing-anna', kind='testing', release='r136',
               commit='1a2b3c4d5e6f')
LIVE = dict(TESTING, instance='live', kind='live')


class HealthTest(TestCase):
    @override_settings(RUNNING=LIVE)
    def test_says_which_release_runs(self):
        response = self.client.get('/healthz')
        self.assertEqual(response.json(), {
            'status': 'ok', 'commit': '1a2b3c4d5e6f', 'release': 'r136', 'database': 'ok'})
        self.assertIn('no-cache', response['Cache-Control'])

    def test_a_database_that_is_away_is_not_well(self):
        with mock.patch('rms.running.connection.cursor', side_effect=OperationalError):
            response = self.client.get('/healthz')
        self.assertEqual((response.status_code, response.json()['database']),
                         (503, 'OperationalError'))


class RibbonTest(TestCase):
    @override_settings(RUNNING=TESTING)
    def test_testing_has_a_ribbon(self):
        response = self.client.get('/login/')
        self.assertContains(response, 'ribbon-testing')
        self.assertContains(response, 'testing-anna')
        self.assertContains(response, 'release r136')
        self.assertContains(response, 'noindex')

    @override_settings(RUNNING=LIVE)
    def test_live_has_none_but_says_its_release(self):
        response = self.client.get('/login/')
        self.assertNotContains(response, 'class="ribbon')
        self.assertNotContains(response, 'the password is the name')
        self.assertContains(response, 'release r136')


class MigrationsTest(TestCase):
    def test_models_and_migrations_agree(self):
        call_command('makemigrations', check=True, dry_run=True, verbosity=0)
