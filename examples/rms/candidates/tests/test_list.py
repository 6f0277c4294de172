from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import reverse

from candidates.factories import CandidateFactory, TagFactory
from candidates.models import Candidate


class ListTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = get_user_model().objects.create_user('anna', password='anna')
        cls.python = TagFactory(name='python')
        cls.remote = TagFactory(name='remote')
        cls.zofia = CandidateFactory(
            first_name='Zofia', last_name='Nowak', email='zofia@example.org',
            phone='+48 601 111 222', city='Poznań',
            position='Tester', status='interview', source='fair')
        cls.zofia.tags.add(cls.python, cls.remote)
        cls.adam = CandidateFactory(
            first_name='Adam', last_name='Mazur', email='adam@example.org',
            phone='+48 602 333 444', city='Wrocław',
            position='Python developer', status='application', source='website')
        cls.adam.tags.add(cls.python)

    def names(self, login=False, **query):
        if login:
            self.client.force_login(self.user)
        response = self.client.get(reverse('candidates:list'), query)
        self.assertEqual(response.status_code, 200)
        return {candidate.first_name for candidate in response.context['page']}

    def test_home_leads_to_the_list(self):
        self.assertRedirects(self.client.get('/'), '/candidates/')

    def test_counts_of_each_status(self):
        response = self.client.get(reverse('candidates:list'))
        self.assertContains(response, 'All <span class="count">(2)</span>')
        counts = {value: number for value, _, number in response.context['counts']}
        self.assertEqual(counts['interview'], 1)
        self.assertEqual(counts['decision'], 0)

    def test_counts_follow_the_filters_but_not_the_status(self):
        response = self.client.get(
            reverse('candidates:list'), {'tag': 'remote', 'status': 'decision'})
        counts = {value: number for value, _, number in response.context['counts']}
        self.assertEqual((counts[''], counts['interview'], counts['application']), (1, 1, 0))

    def test_filters(self):
        for query, expected in [
            ({'status': 'interview'}, {'Zofia'}),
            ({'city': 'Wrocław'}, {'Adam'}),
            ({'position': 'Tester'}, {'Zofia'}),
            ({'source': 'website'}, {'Adam'}),
            ({'tag': ['python', 'remote']}, {'Zofia'}),
            ({'q': 'mazur wroc'}, {'Adam'}),
            ({'q': 'remote'}, {'Zofia'}),
            ({'q': 'nobody'}, set()),
            ({'status': 'no-such', 'sort': 'no-such'}, {'Adam', 'Zofia'}),
        ]:
            with self.subTest(query=query):
                self.assertEqual(self.names(**query), expected)

    def test_strangers_see_no_contact_details(self):
        response = self.client.get(reverse('candidates:list'))
        self.assertNotContains(response, 'zofia@example.org')
        self.assertNotContains(response, '601 111 222')

    def test_users_see_contact_details(self):
        self.client.force_login(self.user)
        response = self.client.get(reverse('candidates:list'))
        self.assertContains(response, 'zofia@example.org')
        self.assertContains(response, '+48 601 111 222')

    def test_strangers_cannot_guess_contact_details_by_searching(self):
        self.assertEqual(self.names(q='zofia@example'), set())
        self.assertEqual(self.names(login=True, q='zofia@example'), {'Zofia'})

    def test_order(self):
        response = self.client.get(reverse('candidates:list'), {'sort': 'name'})
        self.assertEqual([c.last_name for c in response.context['page']], ['Mazur', 'Nowak'])

    def test_pages_keep_the_filters(self):
        CandidateFactory.create_batch(25, city='Gdynia', source='agency')
        response = self.client.get(reverse('candidates:list'), {'city': 'Gdynia', 'page': 2})
        self.assertEqual(len(response.context['page']), 5)
        self.assertContains(response, '?city=Gdynia&amp;page=1')

    def test_number_of_queries_does_not_grow(self):
        CandidateFactory.create_batch(15)
        self.assertGreater(Candidate.objects.count(), 10)
        with self.assertNumQueries(7):
            self.client.get(reverse('candidates:list'))
