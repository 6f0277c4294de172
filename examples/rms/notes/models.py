"""What recruiters write about a candidate."""
import bleach
from django.conf import settings
from django.db import models
from django.utils import timezone

from candidates.models import Candidate

ALLOWED_TAGS = ['a', 'b', 'blockquote', 'br', 'code', 'em', 'i', 'li', 'ol', 'p', 'strong', 'ul']
ALLOWED_ATTRIBUTES = {'a': ['href', 'title']}
ALLOWED_PROTOCOLS = ['http', 'https', 'mailto']


def clean(html):
    """Rich text that is safe to show: a few elements, nothing that runs."""
    return bleach.clean(
        html.strip(), tags=ALLOWED_TAGS, attributes=ALLOWED_ATTRIBUTES,
        protocols=ALLOWED_PROTOCOLS, strip=True)


class Note(models.Model):
    """A note on a candidate; the body is clean HTML."""

    candidate = models.ForeignKey(Candidate, models.CASCADE, related_name='notes')
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    body = models.TextField()
    pinned = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ['-pinned', '-created_at', '-id']

    def __str__(self):
        return 'Note on %s' % self.candidate

    def save(self, *args, **kwargs):
        self.body = clean(self.body)
        super().save(*args, **kwargs)
