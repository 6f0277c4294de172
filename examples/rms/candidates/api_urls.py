from django.urls import include, path
from rest_framework.routers import SimpleRouter
from rest_framework.schemas import get_schema_view

from candidates.api import CandidateViewSet, docs

router = SimpleRouter()
router.register('candidates', CandidateViewSet, basename='candidate')

app_name = 'api'
urlpatterns = [
    path('', docs, name='docs'),
    path('', include(router.urls)),
    path('schema/', get_schema_view(
        title='Recruitment management system', version='1', public=True,
        description='Candidates on their way from application to employment.',
        patterns=[path('api/', include(router.urls))]), name='schema'),
]
