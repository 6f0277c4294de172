"""Which instance and release this is: for the ribbon, the footer and /healthz."""
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import JsonResponse
from django.views.decorators.cache import never_cache

RIBBONS = {
    'testing': 'Testing',
    'preview': 'Preview',
    'staging': 'Staging',
    'live': '',
    '': 'Development',
}


def context(request):
    """Template variables: what runs here and the words on the ribbon."""
    running = settings.RUNNING
    kind = running['kind']
    return {
        'running': dict(running, short=running['commit'][:8], kind=kind or 'development'),
        'ribbon': RIBBONS.get(kind, kind.capitalize()),
    }


@never_cache
def healthz(request):
    """Say that the application and its database answer, and which release this is."""
    answer = {
        'status': 'ok',
        'commit': settings.RUNNING['commit'],
        'release': settings.RUNNING['release'],
        'database': 'ok',
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute('SELECT 1')
            cursor.fetchone()
    except DatabaseError as error:
        answer.update(status='error', database=type(error).__name__)
        return JsonResponse(answer, status=503)
    return JsonResponse(answer)
