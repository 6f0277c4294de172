"""The digest of the last days for the recruiters, started by cron each morning."""
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.core.management.base import BaseCommand
from django.db.models import Count
from django.template.loader import render_to_string
from django.utils import timezone

from candidates.models import Candidate, Status, StatusChange


class Command(BaseCommand):
    help = 'Mails the recruiters what happened in the last days.'

    def add_arguments(self, parser):
        parser.add_argument('--days', type=int, default=1, help='how far back to look')

    def handle(self, *, days, verbosity, **options):
        recipients = list(
            get_user_model().objects.filter(is_active=True).exclude(email='')
            .order_by('email').values_list('email', flat=True))
        if not recipients:
            self.stdout.write('Nobody to write to: no user has an e-mail address.')
            return
        since = timezone.now() - timedelta(days=days)
        numbers = dict(Candidate.objects.order_by().values_list('status')
                       .annotate(number=Count('pk')))
        new = list(Candidate.objects.filter(
            applied_on__gte=timezone.localdate() - timedelta(days=days)))
        changes = list(StatusChange.objects.filter(at__gte=since).select_related('candidate'))
        text = render_to_string('candidates/mail/digest.txt', {
            'days': days, 'new': new, 'changes': changes,
            'counts': [(label, numbers.get(value, 0)) for value, label in Status.choices],
        })
        subject = 'Recruitment: %d new, %d moved' % (len(new), len(changes))
        for recipient in recipients:  # apart: nobody sees the others' addresses
            send_mail(subject, text, None, [recipient])
        self.stdout.write('%s; sent to %d.' % (subject, len(recipients)))
