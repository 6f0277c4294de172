"""A user to log in with where it is only a demonstration."""
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError


def create(name, password, staff=True):
    """Make the user, or give it this password again."""
    user, _ = get_user_model().objects.get_or_create(
        username=name, defaults={
            'email': '%s@example.org' % name, 'first_name': name.capitalize(),
            'is_staff': staff, 'is_superuser': staff})
    user.set_password(password)
    user.save()
    return user


class Command(BaseCommand):
    help = 'Makes a user whose password is known; refused on live.'

    def add_arguments(self, parser):
        parser.add_argument('name', nargs='?', default='anna')
        parser.add_argument('--password', help='the same as the name unless given')
        parser.add_argument('--on-live', action='store_true',
                            help='allow it on live; then a password must be given')

    def handle(self, *, name, password, on_live, **options):
        if settings.RUNNING['kind'] == 'live' and not (on_live and password):
            raise CommandError(
                'This is live: a password that everybody knows has no place here. '
                'Give --on-live and --password.')
        create(name, password or name)
        self.stdout.write('User %s can log in.' % name)
