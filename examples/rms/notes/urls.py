from django.urls import path

from notes import views

app_name = 'notes'
urlpatterns = [path('<int:pk>/notes/', views.add, name='add')]
