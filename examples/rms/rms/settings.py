"""Settings: everything that differs between instances comes from the environment."""
import os
import sys
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from rms import database

BASE_DIR = Path(__file__).resolve().parent.parent
env = os.environ.get


def flag(name, default=False):
    value = env(name, '').strip().lower()
    return default if not value else value in ('1', 'true', 'yes', 'on')


def words(name, default=''):
    return [word.strip() for word in env(name, default).split(',') if word.strip()]


TESTING = len(sys.argv) > 1 and sys.argv[1] == 'test'
DEBUG = flag('DEBUG') and not TESTING

# What runs here; Bosman says so, a developer's own copy has none of it.
RUNNING = {
    'instance': env('BOSMAN_INSTANCE', ''),
    'kind': env('BOSMAN_KIND', ''),
    'release': env('BOSMAN_RELEASE', ''),
    'commit': env('BOSMAN_COMMIT', ''),
    'url': env('BOSMAN_URL', ''),
}

SECRET_KEY = env('SECRET_KEY', '')
if not SECRET_KEY:
    if RUNNING['instance']:
        raise ImproperlyConfigured('SECRET_KEY is not set for instance %s' % RUNNING['instance'])
    # building, testing or developing: no session has to survive
    SECRET_KEY = 'only-for-development' if DEBUG else get_random_secret_key()

ALLOWED_HOSTS = words('ALLOWED_HOSTS', 'localhost,.localhost,127.0.0.1,[::1]')
CSRF_TRUSTED_ORIGINS = words('CSRF_TRUSTED_ORIGINS')
if django.VERSION < (4, 0):  # before 4.0 these are hosts, since then origins
    CSRF_TRUSTED_ORIGINS = [origin.split('://')[-1] for origin in CSRF_TRUSTED_ORIGINS]
SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = RUNNING['url'].startswith('https://')
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = 'DENY'

INSTALLED_APPS = [
    'django.contrib.admin',
    'django.contrib.auth',
    'django.contrib.contenttypes',
    'django.contrib.humanize',
    'django.contrib.messages',
    'django.contrib.sessions',
    'django.contrib.staticfiles',
    'rest_framework',
    'candidates',
    'notes',
]

MIDDLEWARE = [
    'django.middleware.security.SecurityMiddleware',
    'django.contrib.sessions.middleware.SessionMiddleware',
    'django.middleware.common.CommonMiddleware',
    'django.middleware.csrf.CsrfViewMiddleware',
    'django.contrib.auth.middleware.AuthenticationMiddleware',
    'django.contrib.messages.middleware.MessageMiddleware',
    'django.middleware.clickjacking.XFrameOptionsMiddleware',
]
if not DEBUG and not TESTING:
    # the edge serves /static/ itself; this is for a gunicorn of one's own
    MIDDLEWARE.insert(1, 'whitenoise.middleware.WhiteNoiseMiddleware')

ROOT_URLCONF = 'rms.urls'
WSGI_APPLICATION = 'rms.wsgi.application'

TEMPLATES = [{
    'BACKEND': 'django.template.backends.django.DjangoTemplates',
    'DIRS': [BASE_DIR / 'templates'],
    'APP_DIRS': True,
    'OPTIONS': {'context_processors': [
        'django.template.context_processors.request',
        'django.contrib.auth.context_processors.auth',
        'django.contrib.messages.context_processors.messages',
        'rms.running.context',
    ]},
}]

DATABASES = {'default': database.parse(env('DATABASE_URL') or 'sqlite:///db.sqlite3', BASE_DIR)}
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'

if TESTING:
    PASSWORD_HASHERS = ['django.contrib.auth.hashers.MD5PasswordHasher']
if env('TEST_REPORTS'):
    TEST_RUNNER = 'xmlrunner.extra.djangotestrunner.XMLTestRunner'
    TEST_OUTPUT_DIR = env('TEST_REPORTS')

LOGIN_URL = 'login'
LOGIN_REDIRECT_URL = 'candidates:list'
LOGOUT_REDIRECT_URL = 'candidates:list'

LANGUAGE_CODE = 'en-gb'
TIME_ZONE = 'Europe/Warsaw'
USE_I18N = True
USE_TZ = True

STATIC_URL = '/static/'
STATIC_ROOT = BASE_DIR / 'staticfiles'
STATICFILES_DIRS = [BASE_DIR / 'static']
_static = 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'
if DEBUG or TESTING:
    _static = 'django.contrib.staticfiles.storage.StaticFilesStorage'
if django.VERSION >= (4, 2):
    STORAGES = {
        'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'},
        'staticfiles': {'BACKEND': _static},
    }
else:
    STATICFILES_STORAGE = _static

# CVs: private, so there is no MEDIA_URL that a server would publish.
MEDIA_ROOT = BASE_DIR / 'media'
ACCEL_REDIRECT = '/media/' if RUNNING['instance'] else ''
CV_MAX_BYTES = 5 * 1024 * 1024

EMAIL_BACKEND = 'django.core.mail.backends.%s.EmailBackend' % (
    'smtp' if env('EMAIL_HOST') else 'console')
EMAIL_HOST = env('EMAIL_HOST', '')
EMAIL_PORT = int(env('EMAIL_PORT') or 25)
EMAIL_HOST_USER = env('EMAIL_HOST_USER', '')
EMAIL_HOST_PASSWORD = env('EMAIL_HOST_PASSWORD', '')
EMAIL_USE_TLS = flag('EMAIL_USE_TLS')
EMAIL_USE_SSL = flag('EMAIL_USE_SSL')
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env('DEFAULT_FROM_EMAIL') or 'Recruitment <recruitment@example.org>'

REST_FRAMEWORK = {
    'DEFAULT_PERMISSION_CLASSES': ['rest_framework.permissions.IsAuthenticatedOrReadOnly'],
    'DEFAULT_PAGINATION_CLASS': 'rest_framework.pagination.PageNumberPagination',
    'DEFAULT_SCHEMA_CLASS': 'candidates.schema.Schema',
    'PAGE_SIZE': 25,
}

LOGGING = {
    'version': 1,
    'disable_existing_loggers': False,
    'formatters': {'line': {'format': '%(levelname)s %(name)s: %(message)s'}},
    'handlers': {'console': {'class': 'logging.StreamHandler', 'formatter': 'line'}},
    'root': {'handlers': ['console'], 'level': 'WARNING' if TESTING else 'INFO'},
}
if TESTING:  # a 404 that a test asks for is no news
    LOGGING['loggers'] = {'django.request': {'level': 'CRITICAL'}}

if env('SENTRY_DSN') and not TESTING:
    import sentry_sdk
    from sentry_sdk.integrations.django import DjangoIntegration

    sentry_sdk.init(
        dsn=env('SENTRY_DSN'),
        release=env('SENTRY_RELEASE') or RUNNING['release'] or None,
        environment=env('SENTRY_ENVIRONMENT') or RUNNING['instance'] or 'development',
        integrations=[DjangoIntegration()],
        send_default_pii=False,  # candidates' data stays here
    )
