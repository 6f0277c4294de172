"""Contact details as those see them who are not logged in."""


def mask_email(email):
    name, _, domain = email.partition('@')
    return '%s•••@%s' % (name[:1], '•••.' + domain.rpartition('.')[2]) if domain else '•••'


def mask_phone(phone):
    return '••• ••• ••%s' % phone[-1:] if phone else ''
