from datetime import timedelta
from io import StringIO

from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings
from django.utils import timezone

from candidates.factories import CandidateFactory
from candidates.models import Candidate, Status, StatusChange

LIVE = dict(settings.RUNNING, kind='live', instance='live')


def run(*args, **options):
    out = StringIO()
    call_command(*args, stdout=out, **options)
    return out.getvalue()


class TestdataTest(TestCase):
    def test_507_candidates_and_twice_changes_nothing(self):
        self.assertIn('507 candidates made', run('load_testdata'))
        self.assertEqual(Candidate.objects.count(), 507)
        self.assertEqual(Candidate.objects.filter(status=Status.EMPLOYMENT).count(), 38)
        self.assertTrue(StatusChange.objects.exists())
        self.assertIsNotNone(authenticate(username='anna', password='anna'))
        first = Candidate.objects.values_list('email', 'city', 'status').order_by('email')[0]
        self.assertIn('0 candidates made, 507', run('load_testdata'))
        Candidate.objects.filter(email=first[0]).delete()
        self.assertIn('1 candidates made, 507', run('load_testdata'))
        again = Candidate.objects.values_list('email', 'city', 'status').order_by('email')[0]
        self.assertEqual(first, again)

    @override_settings(RUNNING=LIVE)
    def test_live_gets_no_test_data(self):
        with self.assertRaises(CommandError):
            run('load_testdata')
        with self.assertRaises(CommandError):
            run('create_demo_user')
        run('create_demo_user', 'anna', '--on-live', '--password', 'long and secret')
        self.assertIsNone(authenticate(username='anna', password='anna'))


class DigestTest(TestCase):
    def test_nobody_to_write_to(self):
        self.assertIn('Nobody', run('send_digest'))

    def test_digest(self):
        get_user_model().objects.create_user('anna', 'anna@example.org')
        get_user_model().objects.create_user('piotr', 'piotr@example.org')
        new = CandidateFactory(applied_on=timezone.localdate())
        old = CandidateFactory(applied_on=timezone.localdate() - timedelta(days=30))
        old.move_to(Status.INTERVIEW)
        self.assertIn('1 new, 1 moved; sent to 2', run('send_digest'))
        self.assertEqual([letter.to for letter in mail.outbox],
                         [['anna@example.org'], ['piotr@example.org']])
        self.assertIn(new.name, mail.outbox[0].body)
        self.assertIn('Application -> Interview', mail.outbox[0].body)
