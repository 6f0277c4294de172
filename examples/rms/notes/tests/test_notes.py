from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import reverse

from candidates.factories import CandidateFactory
from notes.models import Note, clean


class NotesTest(TestCase):
    def setUp(self):
        self.candidate = CandidateFactory()
        self.user = get_user_model().objects.create_user('anna', first_name='Anna')
        self.url = reverse('notes:add', args=[self.candidate.pk])

    def test_rich_text_stays_and_scripts_go(self):
        for dirty, tidy in [
            ('<p>Has <strong>led</strong> a team</p>', '<p>Has <strong>led</strong> a team</p>'),
            ('<b onclick="x()">Hi</b>', '<b>Hi</b>'),
            ('<a href="javascript:x()">link</a>', '<a>link</a>'),
            ('<img src=x onerror=x()>', ''),
        ]:
            with self.subTest(dirty=dirty):
                self.assertEqual(clean(dirty), tidy)

    def test_a_note_is_shown_with_its_author(self):
        self.client.force_login(self.user)
        response = self.client.post(
            self.url, {'body': '<em>Good</em><script>x()</script>'}, follow=True)
        self.assertContains(response, '<em>Good</em>')
        self.assertNotContains(response, '<script>x()')
        self.assertContains(response, '<strong>Anna</strong>')

    def test_pinned_notes_come_first(self):
        pinned = Note.objects.create(candidate=self.candidate, body='first', pinned=True)
        Note.objects.create(candidate=self.candidate, body='second')
        self.assertEqual(self.candidate.notes.first(), pinned)

    def test_an_empty_note_is_refused(self):
        self.client.force_login(self.user)
        response = self.client.post(self.url, {'body': '<img src=x>'}, follow=True)
        self.assertContains(response, 'nothing was saved')
        self.assertEqual(Note.objects.count(), 0)

    def test_strangers_write_no_notes(self):
        self.assertEqual(self.client.post(self.url, {'body': 'Hi'}).status_code, 302)
        self.assertEqual(Note.objects.count(), 0)
