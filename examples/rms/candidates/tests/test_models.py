from datetime import date

from django.test import SimpleTestCase, TestCase

from candidates.factories import CandidateFactory, plain
from candidates.masking import mask_email, mask_phone
from candidates.models import Candidate, Status


class CandidateTest(TestCase):
    def test_age_changes_on_the_birthday(self):
        candidate = Candidate(birth_date=date(1990, 5, 17))
        self.assertEqual(candidate.age_on(date(2026, 5, 16)), 35)
        self.assertEqual(candidate.age_on(date(2026, 5, 17)), 36)
        self.assertIsNone(Candidate().age)

    def test_road(self):
        candidate = CandidateFactory(status='verification')
        self.assertEqual([step['state'] for step in candidate.steps()],
                         ['done', 'done', 'now', 'ahead', 'ahead', 'ahead'])
        self.assertEqual(candidate.next_status(), Status.INTERVIEW)
        self.assertIsNone(Candidate(status='employment').next_status())

    def test_move_remembers_before_and_after(self):
        candidate = CandidateFactory()
        change = candidate.move_to('confirmation')
        self.assertEqual((change.before, change.after), ('application', 'confirmation'))
        self.assertIsNone(candidate.move_to('confirmation'))
        with self.assertRaises(ValueError):
            candidate.move_to('hired')

    def test_name_and_initials(self):
        candidate = Candidate(first_name='Łukasz', last_name='Zając')
        self.assertEqual((str(candidate), candidate.initials), ('Łukasz Zając', 'ŁZ'))


class MaskingTest(SimpleTestCase):
    def test_mask(self):
        self.assertEqual(mask_email('zofia@example.org'), 'z•••@•••.org')
        self.assertEqual(mask_phone('+48 601 111 222'), '••• ••• ••2')
        self.assertEqual(mask_phone(''), '')

    def test_plain(self):
        self.assertEqual(plain('Łukasz Stępień'), 'lukasz stepien')
