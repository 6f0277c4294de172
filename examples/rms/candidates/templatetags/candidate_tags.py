"""Small things the candidates' pages need."""
from django import template

from candidates.masking import mask_email, mask_phone

register = template.Library()
register.filter('mask_email', mask_email)
register.filter('mask_phone', mask_phone)


@register.inclusion_tag('candidates/avatar.html')
def avatar(candidate, size=''):
    """A round picture with initials; a person keeps the colour."""
    return {'candidate': candidate, 'hue': (candidate.pk or 0) % 8, 'size': size}


@register.simple_tag(takes_context=True)
def query(context, **changes):
    """The query string of this page with some keys changed; empty ones go."""
    values = context['request'].GET.copy()
    values.pop('page', None)
    for key, value in changes.items():
        values.pop(key, None)
        if value not in ('', None):
            values[key] = value
    text = values.urlencode()
    return '?' + text if text else '?'


@register.simple_tag(takes_context=True)
def query_without_tag(context, name):
    """The query string of this page without one of its tags."""
    values = context['request'].GET.copy()
    values.pop('page', None)
    values.setlist('tag', [tag for tag in values.getlist('tag') if tag != name])
    return '?' + values.urlencode()
