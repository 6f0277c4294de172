"""Pages of the candidates."""
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from candidates.filters import Filters
from candidates.forms import CandidateForm, CVForm
from candidates.mail import send_status_mail
from candidates.models import Candidate, Status
from notes.forms import NoteForm

PAGE_SIZE = 20


@require_safe
def candidate_list(request):
    """The list; those not logged in see it without contact details."""
    filters = Filters(request.GET, contact=request.user.is_authenticated)
    found = filters.queryset().prefetch_related('tags')
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get('page'))
    return render(request, 'candidates/list.html', {
        'filters': filters,
        'choices': filters.choices(),
        'counts': filters.counts(),
        'page': page,
        'pages': page.paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1),
    })


@require_safe
def detail(request, pk):
    candidate = get_object_or_404(Candidate.objects.prefetch_related('tags'), pk=pk)
    return render(request, 'candidates/detail.html', {
        'candidate': candidate,
        'changes': candidate.status_changes.select_related('by'),
        'notes': candidate.notes.select_related('author'),
        'note_form': NoteForm(),
        'cv_form': CVForm(),
    })


@login_required
def edit(request, pk=None):
    """Change a candidate, or take a new one in."""
    candidate = get_object_or_404(Candidate, pk=pk) if pk else None
    form = CandidateForm(request.POST or None, instance=candidate)
    if request.method == 'POST' and form.is_valid():
        candidate = form.save()
        messages.success(request, '%s is saved.' % candidate.name)
        return redirect(candidate)
    return render(request, 'candidates/edit.html', {'form': form, 'candidate': candidate})


@login_required
@require_POST
def move(request, pk):
    """Move a candidate to another status and write to them."""
    candidate = get_object_or_404(Candidate, pk=pk)
    status = request.POST.get('status')
    if status not in Status.values:
        messages.error(request, 'There is no such status.')
        return redirect(candidate)
    change = candidate.move_to(status, request.user)
    if change is None:
        messages.info(request, '%s is there already.' % candidate.name)
    elif send_status_mail(change):
        messages.success(request, '%s is now at %s; a mail is on its way.' % (
            candidate.name, change.get_after_display().lower()))
    else:
        messages.warning(request, '%s is now at %s, but the mail could not be sent.' % (
            candidate.name, change.get_after_display().lower()))
    return redirect(candidate)
