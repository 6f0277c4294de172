"""Adding a note."""
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from candidates.models import Candidate
from notes.forms import NoteForm


@login_required
@require_POST
def add(request, pk):
    candidate = get_object_or_404(Candidate, pk=pk)
    form = NoteForm(request.POST)
    if form.is_valid():
        note = form.save(commit=False)
        note.candidate, note.author = candidate, request.user
        note.save()
        messages.success(request, 'The note is saved.')
    else:
        messages.error(request, 'The note is empty, so nothing was saved.')
    return redirect(candidate)
