"""WSGI entry point: gunicorn rms.wsgi."""
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'rms.settings')

application = get_wsgi_application()
