"""Candidates, their tags and the road they go through."""
from django.conf import settings
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone


class Status(models.TextChoices):
    """The stations of a recruitment, in order."""

    APPLICATION = 'application', 'Application'
    CONFIRMATION = 'confirmation', 'Confirmation'
    VERIFICATION = 'verification', 'Verification'
    INTERVIEW = 'interview', 'Interview'
    DECISION = 'decision', 'Decision'
    EMPLOYMENT = 'employment', 'Employment'


class Source(models.TextChoices):
    """How a candidate found us."""

    WEBSITE = 'website', 'Website'
    REFERRAL = 'referral', 'Referral'
    LINKEDIN = 'linkedin', 'LinkedIn'
    FAIR = 'fair', 'Job fair'
    AGENCY = 'agency', 'Agency'


class Tag(models.Model):
    """A short word on a candidate: python, remote, senior."""

    name = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ['name']

    def __str__(self):
        return self.name


class Candidate(models.Model):
    """A person who may come to work with us."""

    first_name = models.CharField(max_length=60)
    last_name = models.CharField(max_length=60)
    email = models.EmailField(unique=True)
    phone = models.CharField(max_length=30, blank=True)
    city = models.CharField(max_length=60, blank=True)
    position = models.CharField(max_length=80)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.APPLICATION)
    source = models.CharField(max_length=20, choices=Source.choices, default=Source.WEBSITE)
    birth_date = models.DateField(null=True, blank=True)
    experience = models.PositiveSmallIntegerField('years of experience', default=0)
    tags = models.ManyToManyField(Tag, blank=True, related_name='candidates')
    cv = models.FileField('CV', upload_to='cv/%Y/', blank=True)
    applied_on = models.DateField(default=timezone.localdate)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ['-applied_on', '-id']
        indexes = [
            models.Index(fields=['status', '-applied_on'], name='candidate_status_applied'),
            models.Index(fields=['city'], name='candidate_city'),
        ]

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse('candidates:detail', args=[self.pk])

    @property
    def name(self):
        return '%s %s' % (self.first_name, self.last_name)

    @property
    def initials(self):
        return (self.first_name[:1] + self.last_name[:1]).upper()

    @property
    def age(self):
        """Full years today; None when the birth date is unknown."""
        if self.birth_date is None:
            return None
        return self.age_on(timezone.localdate())

    def age_on(self, day):
        born = self.birth_date
        return day.year - born.year - ((day.month, day.day) < (born.month, born.day))

    @property
    def is_new(self):
        """Whether the application came within the last week."""
        return (timezone.localdate() - self.applied_on).days < 7

    def steps(self):
        """The stations with where this candidate stands: done, now or ahead."""
        here = Status.values.index(self.status)
        return [
            {'value': value, 'label': label,
             'state': 'done' if at < here else 'now' if at == here else 'ahead'}
            for at, (value, label) in enumerate(Status.choices)
        ]

    def next_status(self):
        """The station after this one; None at the end of the road."""
        at = Status.values.index(self.status) + 1
        return Status(Status.values[at]) if at < len(Status.values) else None

    @transaction.atomic
    def move_to(self, status, by=None):
        """Change the status and remember who did; return the change, None if there is none."""
        status = Status(status)
        if status == self.status:
            return None
        before, self.status = self.status, status.value
        self.save(update_fields=['status', 'updated_at'])
        return StatusChange.objects.create(
            candidate=self, before=before, after=status.value, by=by)


class StatusChange(models.Model):
    """One step of a candidate on the road."""

    candidate = models.ForeignKey(Candidate, models.CASCADE, related_name='status_changes')
    before = models.CharField(max_length=20, choices=Status.choices)
    after = models.CharField(max_length=20, choices=Status.choices)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ['-at', '-id']

    def __str__(self):
        return '%s: %s to %s' % (
            self.candidate, self.get_before_display(), self.get_after_display())
