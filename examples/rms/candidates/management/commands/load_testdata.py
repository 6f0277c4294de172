"""507 made candidates, the same ones each time."""
from datetime import datetime, time, timedelta

import factory.random
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from candidates.factories import CandidateFactory, tags_for
from candidates.management.commands.create_demo_user import create
from candidates.models import Candidate, Status, StatusChange, Tag
from notes.models import Note

# together 507
NUMBERS = {
    Status.APPLICATION: 212,
    Status.CONFIRMATION: 96,
    Status.VERIFICATION: 74,
    Status.INTERVIEW: 58,
    Status.DECISION: 29,
    Status.EMPLOYMENT: 38,
}
USERS = ['anna', 'piotr', 'maria']
NOTES = [
    '<p>A call: <strong>friendly and well prepared</strong>. Can start next month.</p>',
    '<p>Good questions about how we review code.</p><ul><li>has led a team of four</li>'
    '<li>prefers to work from home three days a week</li></ul>',
    '<p>The task was solved with tests. <em>Let us meet.</em></p>',
    '<p>Recommended by a colleague from the former project.</p>',
    '<p>Asks about English lessons and conferences.</p>',
]


def office_hours(moment):
    """The same minute of the same day, at an hour when people work."""
    local = timezone.localtime(moment)
    return local.replace(hour=8 + local.hour % 8)


class Command(BaseCommand):
    help = 'Makes 507 test candidates and users for the testers; twice changes nothing.'

    def handle(self, **options):
        if settings.RUNNING['kind'] == 'live':
            raise CommandError('This is live: no made candidates here.')
        with transaction.atomic():
            made = self.load()
        self.stdout.write('%d candidates made, %d there now.' % (made, Candidate.objects.count()))

    def load(self):
        users = [self.user(name) for name in USERS]
        factory.random.reseed_random('rms')
        statuses = [status for status, number in NUMBERS.items() for _ in range(number)]
        factory.random.randgen.shuffle(statuses)
        built = [CandidateFactory.build(number=number, status=status.value)
                 for number, status in enumerate(statuses)]
        names = [tags_for(candidate) for candidate in built]
        there = set(Candidate.objects.filter(email__in=[c.email for c in built])
                    .values_list('email', flat=True))
        new = [(c, tags) for c, tags in zip(built, names) if c.email not in there]
        Candidate.objects.bulk_create([candidate for candidate, _ in new])
        saved = Candidate.objects.in_bulk([c.email for c, _ in new], field_name='email')
        new = [(saved[candidate.email], tags) for candidate, tags in new]
        self.tag(new)
        self.history([candidate for candidate, _ in new], users)
        return len(new)

    def user(self, name):
        user = get_user_model().objects.filter(username=name).first()
        return user or create(name, name)

    def tag(self, new):
        wanted = sorted({name for _, tags in new for name in tags})
        there = set(Tag.objects.values_list('name', flat=True))
        Tag.objects.bulk_create([Tag(name=name) for name in wanted if name not in there])
        ids = dict(Tag.objects.values_list('name', 'pk'))
        through = Candidate.tags.through
        through.objects.bulk_create([
            through(candidate_id=candidate.pk, tag_id=ids[name])
            for candidate, tags in new for name in tags])

    def history(self, candidates, users):
        """Past changes of status and a few notes."""
        changes, notes = [], []
        now = timezone.now()
        randgen = factory.random.randgen
        for candidate in candidates:
            steps = candidate.steps()
            done = [step['value'] for step in steps if step['state'] != 'ahead']
            start = timezone.make_aware(datetime.combine(candidate.applied_on, time(9, 30)))
            span = max((now - start).total_seconds(), 3600)
            for at, (before, after) in enumerate(zip(done, done[1:]), 1):
                when = office_hours(start + timedelta(seconds=span * at / (len(done) + .5)))
                changes.append(StatusChange(
                    candidate=candidate, before=before, after=after, at=min(when, now),
                    by=randgen.choice(users)))
            for body in randgen.sample(NOTES, min(len(done) - 1, 3)):
                when = office_hours(start + timedelta(seconds=span * randgen.random()))
                notes.append(Note(candidate=candidate, author=randgen.choice(users), body=body,
                                  created_at=min(when, now)))
        StatusChange.objects.bulk_create(changes)
        Note.objects.bulk_create(notes)
