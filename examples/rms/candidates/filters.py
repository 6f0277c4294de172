"""Searching and filtering candidates."""
from django.db.models import Count, Q

from candidates.models import Candidate, Source, Status, Tag

SORTS = {
    'newest': ('Newest first', ['-applied_on', '-id']),
    'oldest': ('Oldest first', ['applied_on', 'id']),
    'name': ('Name', ['last_name', 'first_name', 'id']),
    'experience': ('Most experience', ['-experience', '-applied_on', '-id']),
}
SEARCHED = ['first_name', 'last_name', 'position', 'city', 'tags__name']
CONTACT = ['email', 'phone']


def search(queryset, words, contact=False):
    """Keep the candidates in whom each word is found.

    E-mail and phone are searched only with contact=True: who may not see them
    must not find out by guessing either.
    """
    fields = SEARCHED + (CONTACT if contact else [])
    for word in words.split():
        found = Q()
        for field in fields:
            found |= Q(**{field + '__icontains': word})
        queryset = queryset.filter(pk__in=Candidate.objects.filter(found).values('pk'))
    return queryset


class Filters:
    """The filters that a query string asks for; what is unknown is left out."""

    def __init__(self, query, contact=False):
        self.contact = contact
        self.q = query.get('q', '').strip()[:100]
        self.status = _one_of(query.get('status'), Status.values)
        self.source = _one_of(query.get('source'), Source.values)
        self.city = query.get('city', '').strip()
        self.position = query.get('position', '').strip()
        self.tags = [tag for tag in query.getlist('tag') if tag]
        self.sort = _one_of(query.get('sort'), SORTS) or 'newest'

    def without_status(self):
        """All candidates that match, whatever their status."""
        found = Candidate.objects.all()
        if self.source:
            found = found.filter(source=self.source)
        if self.city:
            found = found.filter(city=self.city)
        if self.position:
            found = found.filter(position=self.position)
        for tag in self.tags:
            found = found.filter(tags__name=tag)
        return search(found, self.q, self.contact)

    def queryset(self):
        found = self.without_status()
        if self.status:
            found = found.filter(status=self.status)
        return found.order_by(*SORTS[self.sort][1])

    def counts(self):
        """[(status, label, how many)], first all of them."""
        by_status = dict(
            self.without_status().order_by().values_list('status')
            .annotate(number=Count('pk', distinct=True)))
        rows = [(value, label, by_status.get(value, 0)) for value, label in Status.choices]
        return [('', 'All', sum(row[2] for row in rows))] + rows

    @property
    def active(self):
        """Whether anything but the status and the order is asked for."""
        return bool(self.q or self.source or self.city or self.position or self.tags)

    def choices(self):
        """What the filters' menus offer."""
        return {
            'cities': _distinct('city'),
            'positions': _distinct('position'),
            'tags': Tag.objects.values_list('name', flat=True),
            'sources': Source.choices,
            'sorts': [(key, label) for key, (label, _) in SORTS.items()],
        }


def _one_of(value, known):
    return value if value in known else ''


def _distinct(field):
    return (Candidate.objects.exclude(**{field: ''}).order_by(field)
            .values_list(field, flat=True).distinct())
