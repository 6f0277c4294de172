"""Addresses of the project."""
from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.generic import RedirectView

from rms.running import healthz

urlpatterns = [
    path('', RedirectView.as_view(pattern_name='candidates:list'), name='home'),
    path('candidates/', include('candidates.urls')),
    path('candidates/', include('notes.urls')),
    path('api/', include('candidates.api_urls')),
    path('login/', LoginView.as_view(redirect_authenticated_user=True), name='login'),
    path('logout/', LogoutView.as_view(), name='logout'),
    path('healthz', healthz, name='healthz'),
    path('admin/', admin.site.urls),
]
