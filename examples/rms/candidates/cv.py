"""A candidate's CV: private, so every byte of it goes through here."""
import mimetypes
from pathlib import PurePosixPath
from urllib.parse import quote

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods

from candidates.forms import CVForm
from candidates.models import Candidate


@login_required
@require_http_methods(['GET', 'HEAD', 'POST'])
def cv(request, pk):
    candidate = get_object_or_404(Candidate, pk=pk)
    if request.method == 'POST':
        return upload(request, candidate)
    return download(candidate)


def upload(request, candidate):
    before = candidate.cv.name
    form = CVForm(request.POST, request.FILES, instance=candidate)
    if form.is_valid():
        form.save()
        if before and before != candidate.cv.name:
            candidate.cv.storage.delete(before)
        messages.success(request, 'The CV is saved.')
    else:
        candidate.refresh_from_db()
        messages.error(request, ' '.join(form.errors.get('cv', ['No file was given.'])))
    return redirect(candidate)


def download(candidate):
    """The file itself, or word to the edge to send it."""
    if not candidate.cv or not candidate.cv.storage.exists(candidate.cv.name):
        raise Http404('no CV')
    name = PurePosixPath(candidate.cv.name).name
    kind = mimetypes.guess_type(name)[0] or 'application/octet-stream'
    if not settings.ACCEL_REDIRECT:
        return FileResponse(candidate.cv.open('rb'), as_attachment=True, filename=name)
    response = HttpResponse(content_type=kind)
    response['X-Accel-Redirect'] = quote(settings.ACCEL_REDIRECT + candidate.cv.name)
    response['Content-Disposition'] = "attachment; filename*=utf-8''%s" % quote(name)
    response['Cache-Control'] = 'private, no-store'
    return response
