"""The REST interface: read by anybody (contact details masked), written by users."""
from django.db.models import Q
from django.shortcuts import render
from django.views.decorators.http import require_safe
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response

from candidates.filters import Filters, search
from candidates.mail import send_status_mail
from candidates.masking import mask_email, mask_phone
from candidates.models import Candidate, Status

SUGGESTIONS = 8


class CandidateSerializer(serializers.ModelSerializer):
    tags = serializers.SlugRelatedField('name', many=True, read_only=True)
    url = serializers.HyperlinkedIdentityField(view_name='api:candidate-detail')

    class Meta:
        model = Candidate
        fields = ['id', 'url', 'first_name', 'last_name', 'email', 'phone', 'city', 'position',
                  'status', 'source', 'age', 'experience', 'tags', 'applied_on', 'updated_at']
        read_only_fields = ['status', 'age', 'updated_at']

    def to_representation(self, instance):
        data = super().to_representation(instance)
        request = self.context.get('request')
        if request is None or not request.user.is_authenticated:
            data['email'] = mask_email(instance.email)
            data['phone'] = mask_phone(instance.phone)
        return data


class MoveSerializer(serializers.Serializer):
    status = serializers.ChoiceField(Status.choices)


class CandidateViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.CreateModelMixin,
                       mixins.UpdateModelMixin, viewsets.GenericViewSet):
    """Candidates, with the same filters as the list's page: q, status, tag, city, position, source.
    """

    queryset = Candidate.objects.prefetch_related('tags')
    serializer_class = CandidateSerializer

    def get_queryset(self):
        if self.action != 'list':
            return super().get_queryset()
        filters = Filters(self.request.GET, contact=self.request.user.is_authenticated)
        return filters.queryset().prefetch_related('tags')

    @action(detail=True, methods=['post'], serializer_class=MoveSerializer)
    def move(self, request, pk=None):
        """Move a candidate to another status; the candidate gets a mail."""
        candidate = self.get_object()
        asked = MoveSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        change = candidate.move_to(asked.validated_data['status'], request.user)
        mailed = bool(change and send_status_mail(change))
        return Response({'status': candidate.status, 'changed': change is not None,
                         'mailed': mailed})

    @action(detail=False)
    def suggest(self, request):
        """A few names and positions that fit what is being typed: q."""
        words = request.GET.get('q', '').strip()[:100]
        if len(words) < 2:
            return Response([])
        found = search(Candidate.objects.all(), words).order_by('last_name', 'first_name', 'id')
        start = Q(last_name__istartswith=words) | Q(first_name__istartswith=words)
        best = list(found.filter(start)[:SUGGESTIONS])
        if len(best) < SUGGESTIONS:
            best += list(found.exclude(start)[:SUGGESTIONS - len(best)])
        return Response([
            {'name': c.name, 'initials': c.initials, 'position': c.position, 'city': c.city,
             'status': c.get_status_display(), 'hue': c.pk % 8, 'url': c.get_absolute_url()}
            for c in best])


@require_safe
def docs(request):
    return render(request, 'candidates/api.html')
