from django.test import SimpleTestCase

from rms.database import parse


class DatabaseURLTest(SimpleTestCase):
    def check(self, url, **expected):
        parsed = parse(url, '/srv/rms')
        self.assertEqual({key: parsed.get(key) for key in expected}, expected)

    def test_tcp(self):
        self.check('postgres://anna:p%40ss@db.example.org:5433/rms', USER='anna',
                   PASSWORD='p@ss', HOST='db.example.org', PORT='5433', NAME='rms',
                   ENGINE='django.db.backends.postgresql')

    def test_unix_socket_as_host_parameter(self):
        self.check('postgres://rms_live:secret@/rms_live?host=/run/postgresql',
                   USER='rms_live', HOST='/run/postgresql', PORT='', NAME='rms_live')

    def test_unix_socket_in_percent_form(self):
        self.check('postgresql://rms@%2FRun%2Fpg:5555/rms', HOST='/Run/pg', PORT='5555')

    def test_ipv6_and_options(self):
        self.check('postgres://rms@[::1]:5432/rms?sslmode=require&foo=1',
                   HOST='::1', PORT='5432', OPTIONS={'sslmode': 'require'})

    def test_sqlite(self):
        self.check('sqlite:////var/lib/rms.sqlite3', NAME='/var/lib/rms.sqlite3')
        self.check('sqlite:///db.sqlite3', NAME='/srv/rms/db.sqlite3')
        self.check('sqlite://:memory:', NAME=':memory:')

    def test_what_is_not_understood_is_refused(self):
        for url in ['mysql://localhost/rms', 'rms', 'postgres://localhost/']:
            with self.subTest(url=url), self.assertRaises(ValueError):
                parse(url)
