"""DATABASE_URL as Django's database settings.

Debian's dj-database-url (0.5) does not know newer URL forms, and this is all
we need of it:

    postgres://user:password@host:5432/name
    postgres://user@/name?host=/run/postgresql      (a unix socket's folder)
    postgres://user@%2Frun%2Fpostgresql/name        (the same)
    sqlite:////srv/rms/db.sqlite3                   (absolute path)
    sqlite:///db.sqlite3                            (relative to the project)
    sqlite://:memory:
"""
from urllib.parse import parse_qsl, unquote, urlsplit

ENGINES = {
    'postgres': 'django.db.backends.postgresql',
    'postgresql': 'django.db.backends.postgresql',
    'sqlite': 'django.db.backends.sqlite3',
    'sqlite3': 'django.db.backends.sqlite3',
}


def parse(url, base_dir='.'):
    """Return the settings of one database; ValueError names what is wrong."""
    scheme = url.split(':', 1)[0].lower()
    if scheme not in ENGINES:
        raise ValueError(
            'DATABASE_URL starts with %r; use postgres:// or sqlite:///' % scheme)
    engine = ENGINES[scheme]
    if engine.endswith('sqlite3'):
        return _sqlite(engine, url, base_dir)
    return _postgres(engine, url)


def _sqlite(engine, url, base_dir):
    rest = unquote(url.split('://', 1)[1].split('?', 1)[0])
    if rest in (':memory:', '/:memory:', ''):
        name = ':memory:'
    elif rest.startswith('//'):
        name = rest[1:]
    else:
        name = '%s/%s' % (str(base_dir).rstrip('/'), rest.lstrip('/'))
    return {'ENGINE': engine, 'NAME': name, 'OPTIONS': {'timeout': 20}}


def _postgres(engine, url):
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    # hostname would be lower-cased, which breaks a socket's path
    netloc = parts.netloc.rpartition('@')[2]
    host, port = netloc, ''
    if ':' in netloc and not netloc.endswith(']'):
        host, _, port = netloc.rpartition(':')
    name = unquote(parts.path.lstrip('/')) or query.pop('dbname', '')
    if not name:
        raise ValueError('DATABASE_URL names no database')
    settings = {
        'ENGINE': engine,
        'NAME': name,
        'USER': unquote(parts.username or '') or query.pop('user', ''),
        'PASSWORD': unquote(parts.password or '') or query.pop('password', ''),
        'HOST': query.pop('host', '') or unquote(host).strip('[]'),
        'PORT': query.pop('port', '') or port,
        'CONN_MAX_AGE': 60,
    }
    known = ('sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'connect_timeout',
             'application_name', 'options')
    options = {key: value for key, value in query.items() if key in known}
    if options:
        settings['OPTIONS'] = options
    return settings
