"""The letter a candidate gets when the status changes."""
import logging
from smtplib import SMTPException

from django.core.mail import send_mail
from django.template.loader import render_to_string

log = logging.getLogger(__name__)


def send_status_mail(change):
    """Write to the candidate; say whether the letter went out.

    A mail server that is down must not keep a recruiter from working, so the
    failure is logged and reported to the caller, not raised.
    """
    candidate = change.candidate
    text = render_to_string('candidates/mail/status.txt', {
        'candidate': candidate, 'change': change})
    subject = 'Your application: %s' % change.get_after_display().lower()
    try:
        return send_mail(subject, text, None, [candidate.email]) == 1
    except (SMTPException, OSError):
        log.exception('no mail to candidate %s', candidate.pk)
        return False
