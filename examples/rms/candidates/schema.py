"""The OpenAPI description of the REST interface."""
import re

from rest_framework.schemas.openapi import AutoSchema


class Schema(AutoSchema):
    """Path parameters without the packages uritemplate and inflection.

    Django REST framework wants them only to find the names in /candidates/{id}/
    and to write "listCandidates"; we do both here.
    """

    def get_path_parameters(self, path, method):
        return [
            {'name': name, 'in': 'path', 'required': True, 'description': '',
             'schema': {'type': 'integer' if name in ('id', 'pk') else 'string'}}
            for name in re.findall(r'{(\w+)}', path)]

    def get_tags(self, path, method):
        return [self.view.basename + 's']

    def get_operation_id_base(self, path, method, action):
        name = self.view.queryset.model.__name__
        return name + 's' if action == 'list' else name

    def get_operation_id(self, path, method):
        action = getattr(self.view, 'action', None)
        if action in ('move', 'suggest'):
            return action + 'Candidate'
        return super().get_operation_id(path, method)

    def get_filter_parameters(self, path, method):
        asked = {'list': ['q', 'status', 'tag', 'city', 'position', 'source', 'sort'],
                 'suggest': ['q']}
        names = asked.get(getattr(self.view, 'action', ''), [])
        return super().get_filter_parameters(path, method) + [
            {'name': name, 'in': 'query', 'required': False, 'schema': {'type': 'string'}}
            for name in names]
