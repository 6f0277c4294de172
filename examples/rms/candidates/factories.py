"""Made people, for tests and for staging."""
import unicodedata
from datetime import timedelta

import factory
import factory.fuzzy
from django.utils import timezone

from candidates.models import Candidate, Source, Status, Tag

POLISH_WOMEN = [
    'Agnieszka', 'Aleksandra', 'Alicja', 'Barbara', 'Ewa', 'Hanna', 'Joanna', 'Julia', 'Karolina',
    'Katarzyna', 'Magdalena', 'Małgorzata', 'Maria', 'Marta', 'Natalia', 'Weronika', 'Zofia']
POLISH_MEN = [
    'Adam', 'Bartosz', 'Dawid', 'Filip', 'Grzegorz', 'Jakub', 'Jan', 'Kamil', 'Krzysztof',
    'Łukasz', 'Maciej', 'Marcin', 'Mateusz', 'Michał', 'Paweł', 'Piotr', 'Szymon', 'Tomasz']
POLISH_NAMES = [
    'Nowak', 'Kowalsk+', 'Wiśniewsk+', 'Wójcik', 'Kowalczyk', 'Kamińsk+', 'Lewandowsk+',
    'Zielińsk+', 'Szymańsk+', 'Woźniak', 'Dąbrowsk+', 'Kozłowsk+', 'Mazur', 'Jankowsk+',
    'Kwiatkowsk+', 'Krawczyk', 'Kaczmarek', 'Piotrowsk+', 'Grabowsk+', 'Zając', 'Pawłowsk+',
    'Król', 'Wieczorek', 'Jabłońsk+', 'Wróbel', 'Majewsk+', 'Olszewsk+', 'Stępień',
    'Malinowsk+', 'Górsk+', 'Sikora', 'Rutkowsk+', 'Baran', 'Ostrowsk+', 'Pietrzak']
ENGLISH_FIRST = [
    'Alice', 'Amelia', 'Benjamin', 'Charlotte', 'Daniel', 'Edward', 'Emily', 'George', 'Grace',
    'Harriet', 'Henry', 'Isla', 'Jack', 'Lucy', 'Oliver', 'Rose', 'Samuel', 'Thomas', 'William']
ENGLISH_LAST = [
    'Ashford', 'Bennett', 'Clarke', 'Davies', 'Ellis', 'Fletcher', 'Graham', 'Hughes', 'Marsh',
    'Morgan', 'Palmer', 'Reid', 'Shaw', 'Turner', 'Walsh', 'Whitfield', 'Wright']
CITIES = ['Poznań'] * 6 + ['Wrocław'] * 5 + ['Warszawa'] * 4 + ['Łódź'] * 3 + [
    'Gdańsk', 'Gdańsk', 'Kraków', 'Kraków', 'Piła', 'Szczecin', 'Lublin', 'London', 'Berlin']
POSITIONS = {
    'Python developer': ['python', 'django', 'flask', 'postgresql', 'celery', 'aws'],
    'JavaScript developer': ['javascript', 'react', 'angular', 'typescript', 'css', 'node'],
    'Full-stack developer': ['python', 'django', 'javascript', 'react', 'docker', 'rest'],
    'Tester': ['selenium', 'manual', 'istqb', 'cypress', 'python', 'jira'],
    'DevOps engineer': ['linux', 'docker', 'ansible', 'kubernetes', 'aws', 'postgresql'],
    'UX designer': ['figma', 'research', 'css', 'accessibility', 'prototypes'],
    'Project manager': ['scrum', 'kanban', 'budget', 'jira', 'english c1'],
    'Data analyst': ['sql', 'python', 'pandas', 'postgresql', 'statistics'],
}
COMMON_TAGS = ['remote', 'senior', 'junior', 'relocation', 'part-time', 'english c1', 'german b2']


def plain(text):
    """Text in ASCII lower case, as it stands in an address."""
    text = text.lower().replace('ł', 'l')
    return unicodedata.normalize('NFKD', text).encode('ascii', 'ignore').decode()


def _person(number):
    """(first, last) for a number; the same number is always the same person."""
    pick = number * 7919
    if number % 6 == 5:
        return ENGLISH_FIRST[pick % len(ENGLISH_FIRST)], ENGLISH_LAST[pick // 3 % len(ENGLISH_LAST)]
    woman = number % 2 == 0
    firsts = POLISH_WOMEN if woman else POLISH_MEN
    last = POLISH_NAMES[pick // 5 % len(POLISH_NAMES)]
    return firsts[pick % len(firsts)], last.replace('+', 'a' if woman else 'i')


class TagFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Tag
        django_get_or_create = ['name']

    name = factory.Sequence(lambda n: 'tag-%d' % n)


class CandidateFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Candidate

    class Params:
        number = factory.Sequence(lambda n: n)

    first_name = factory.LazyAttribute(lambda c: _person(c.number)[0])
    last_name = factory.LazyAttribute(lambda c: _person(c.number)[1])
    email = factory.LazyAttribute(lambda c: '%s.%s.%d@example.org' % (
        plain(c.first_name), plain(c.last_name), c.number))
    phone = factory.LazyFunction(lambda: '+48 %d %03d %03d' % (
        _random().randint(500, 799), _random().randint(0, 999), _random().randint(0, 999)))
    city = factory.fuzzy.FuzzyChoice(CITIES)
    position = factory.fuzzy.FuzzyChoice(sorted(POSITIONS))
    status = Status.APPLICATION.value
    source = factory.fuzzy.FuzzyChoice(
        ['website'] * 5 + ['referral'] * 3 + [value for value in Source.values])
    experience = factory.LazyFunction(lambda: max(0, int(_random().gauss(6, 4))))
    birth_date = factory.LazyAttribute(lambda c: timezone.localdate() - timedelta(
        days=int(365.25 * (21 + c.experience + _random().random() * 9))))
    applied_on = factory.LazyAttribute(lambda c: timezone.localdate() - timedelta(
        days=int(_random().triangular(0, 300, 0))
        + _random().randint(0, 2) * ((Status.values.index(c.status) + 1) // 2)))


def _random():
    return factory.random.randgen


def tags_for(candidate):
    """Names of tags that suit a candidate's position."""
    names = set(_random().sample(POSITIONS[candidate.position], _random().randint(1, 3)))
    if _random().random() < .6:
        names.add(_random().choice(COMMON_TAGS))
    return sorted(names)
