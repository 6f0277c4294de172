import shutil
import tempfile

from django.contrib.auth import get_user_model
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings
from django.urls import reverse

from candidates.factories import CandidateFactory
from candidates.models import Candidate


class DetailTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = get_user_model().objects.create_user('anna', password='anna')
        cls.candidate = CandidateFactory(first_name='Zofia', email='zofia@example.org')

    def test_steps_of_the_road(self):
        response = self.client.get(self.candidate.get_absolute_url())
        self.assertContains(response, 'aria-current="step"')
        self.assertContains(response, 'Employment')

    def test_strangers_see_neither_contact_nor_notes(self):
        response = self.client.get(self.candidate.get_absolute_url())
        self.assertNotContains(response, 'zofia@example.org')
        self.assertNotContains(response, 'Add the note')

    def test_no_such_candidate(self):
        self.assertEqual(self.client.get(reverse('candidates:detail', args=[0])).status_code, 404)

    def test_moving_needs_a_login(self):
        url = reverse('candidates:move', args=[self.candidate.pk])
        self.assertRedirects(
            self.client.post(url, {'status': 'interview'}), '/login/?next=' + url)
        self.candidate.refresh_from_db()
        self.assertEqual(self.candidate.status, 'application')

    def test_moving_writes_history_and_mail(self):
        self.client.force_login(self.user)
        url = reverse('candidates:move', args=[self.candidate.pk])
        response = self.client.post(url, {'status': 'interview'}, follow=True)
        self.assertContains(response, 'a mail is on its way')
        self.assertContains(response, 'by anna')
        self.assertEqual(len(mail.outbox), 1)
        self.assertEqual(mail.outbox[0].to, ['zofia@example.org'])
        self.assertIn('Interview', mail.outbox[0].body)

    def test_moving_to_the_same_status_writes_nothing(self):
        self.client.force_login(self.user)
        url = reverse('candidates:move', args=[self.candidate.pk])
        self.client.post(url, {'status': 'application'})
        self.assertEqual(self.candidate.status_changes.count(), 0)
        self.assertEqual(mail.outbox, [])

    def test_unknown_status_is_refused(self):
        self.client.force_login(self.user)
        url = reverse('candidates:move', args=[self.candidate.pk])
        response = self.client.post(url, {'status': 'hired'}, follow=True)
        self.assertContains(response, 'no such status')

    @override_settings(EMAIL_BACKEND='django.core.mail.backends.smtp.EmailBackend',
                       EMAIL_HOST='127.0.0.1', EMAIL_PORT=1)
    def test_a_mail_server_that_is_down_stops_nobody(self):
        self.client.force_login(self.user)
        url = reverse('candidates:move', args=[self.candidate.pk])
        with self.assertLogs('candidates.mail', 'ERROR'):
            response = self.client.post(url, {'status': 'decision'}, follow=True)
        self.assertContains(response, 'the mail could not be sent')
        self.candidate.refresh_from_db()
        self.assertEqual(self.candidate.status, 'decision')

    def test_a_new_candidate(self):
        self.client.force_login(self.user)
        response = self.client.post(reverse('candidates:new'), {
            'first_name': 'Jan', 'last_name': 'Król', 'email': 'Jan@Example.org',
            'position': 'Tester', 'source': 'fair', 'experience': 3,
            'applied_on': '2026-11-02'})
        jan = Candidate.objects.get(email='jan@example.org')
        self.assertRedirects(response, jan.get_absolute_url())

    def test_the_form_says_what_is_wrong(self):
        self.client.force_login(self.user)
        response = self.client.post(
            reverse('candidates:edit', args=[self.candidate.pk]), {'first_name': ''})
        self.assertContains(response, 'This field is required.')


class CVTest(TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        media = override_settings(MEDIA_ROOT=folder, ACCEL_REDIRECT='')
        media.enable()
        self.addCleanup(media.disable)
        self.candidate = CandidateFactory()
        self.url = reverse('candidates:cv', args=[self.candidate.pk])
        self.user = get_user_model().objects.create_user('anna', password='anna')

    def upload(self, name='cv.pdf', content=b'%PDF-1.4 text'):
        self.client.force_login(self.user)
        return self.client.post(
            self.url, {'cv': SimpleUploadedFile(name, content)}, follow=True)

    def test_upload_and_download(self):
        self.assertContains(self.upload(), 'The CV is saved')
        response = self.client.get(self.url)
        self.assertEqual(b''.join(response.streaming_content), b'%PDF-1.4 text')
        self.assertIn('attachment', response['Content-Disposition'])
        response.close()

    def test_a_cv_is_private(self):
        self.upload()
        self.client.logout()
        self.assertRedirects(self.client.get(self.url), '/login/?next=' + self.url)

    def test_behind_the_edge_the_edge_sends_it(self):
        self.upload()
        with self.settings(ACCEL_REDIRECT='/media/'):
            response = self.client.get(self.url)
        self.candidate.refresh_from_db()
        self.assertEqual(response['X-Accel-Redirect'], '/media/' + self.candidate.cv.name)
        self.assertEqual(response.content, b'')

    def test_a_program_is_no_cv(self):
        self.assertContains(self.upload('cv.exe', b'MZ'), 'PDF, ODT, DOCX or TXT')
        self.assertContains(self.upload('cv.pdf', b'MZ'), 'not what its name says')
        self.candidate.refresh_from_db()
        self.assertFalse(self.candidate.cv)

    def test_a_new_cv_replaces_the_old_file(self):
        self.upload()
        self.candidate.refresh_from_db()
        old, storage = self.candidate.cv.name, self.candidate.cv.storage
        self.upload('other.pdf')
        self.assertFalse(storage.exists(old))

    def test_no_cv_is_not_found(self):
        self.client.force_login(self.user)
        self.assertEqual(self.client.get(self.url).status_code, 404)
