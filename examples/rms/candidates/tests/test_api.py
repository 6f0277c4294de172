from django.contrib.auth import get_user_model
from django.core import mail
from django.test import TestCase
from django.urls import reverse

from candidates.factories import CandidateFactory, TagFactory


class ApiTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = get_user_model().objects.create_user('anna', password='anna')
        cls.zofia = CandidateFactory(
            first_name='Zofia', last_name='Nowak', email='zofia@example.org', city='Piła')
        cls.zofia.tags.add(TagFactory(name='django'))
        CandidateFactory(first_name='Adam', last_name='Mazur', city='Lublin', status='decision')
        cls.list_url = reverse('api:candidate-list')
        cls.url = reverse('api:candidate-detail', args=[cls.zofia.pk])

    def test_list_and_filters(self):
        self.assertEqual(self.client.get(self.list_url).json()['count'], 2)
        found = self.client.get(self.list_url, {'tag': 'django'}).json()['results']
        self.assertEqual([(c['first_name'], c['tags']) for c in found], [('Zofia', ['django'])])

    def test_contact_details_only_for_users(self):
        self.assertEqual(self.client.get(self.url).json()['email'], 'z•••@•••.org')
        self.client.force_login(self.user)
        self.assertEqual(self.client.get(self.url).json()['email'], 'zofia@example.org')

    def test_strangers_change_nothing(self):
        response = self.client.patch(self.url, {'city': 'Kraków'}, content_type='application/json')
        self.assertEqual(response.status_code, 403)

    def test_users_change_all_but_the_status(self):
        self.client.force_login(self.user)
        self.client.patch(self.url, {'city': 'Kraków', 'status': 'employment'},
                          content_type='application/json')
        self.zofia.refresh_from_db()
        self.assertEqual((self.zofia.city, self.zofia.status), ('Kraków', 'application'))

    def test_move(self):
        self.client.force_login(self.user)
        url = reverse('api:candidate-move', args=[self.zofia.pk])
        self.assertEqual(self.client.post(url, {'status': 'hired'}).status_code, 400)
        response = self.client.post(url, {'status': 'decision'})
        self.assertEqual(response.json(), {'status': 'decision', 'changed': True, 'mailed': True})
        self.assertEqual(len(mail.outbox), 1)

    def test_suggestions(self):
        url = reverse('api:candidate-suggest')
        self.assertEqual(self.client.get(url, {'q': 'z'}).json(), [])
        found = self.client.get(url, {'q': 'nowa'}).json()
        self.assertEqual([c['name'] for c in found], ['Zofia Nowak'])
        self.assertEqual(found[0]['url'], self.zofia.get_absolute_url())

    def test_schema_names_the_filters(self):
        schema = self.client.get(reverse('api:schema') + '?format=openapi-json').json()
        listing = schema['paths']['/api/candidates/']['get']
        self.assertIn('status', [parameter['name'] for parameter in listing['parameters']])
        self.assertIn('/api/candidates/{id}/move/', schema['paths'])
        self.assertContains(self.client.get(reverse('api:docs')), 'id="swagger"')
