from django.urls import path

from candidates import cv, views

app_name = 'candidates'
urlpatterns = [
    path('', views.candidate_list, name='list'),
    path('new/', views.edit, name='new'),
    path('<int:pk>/', views.detail, name='detail'),
    path('<int:pk>/edit/', views.edit, name='edit'),
    path('<int:pk>/move/', views.move, name='move'),
    path('<int:pk>/cv/', cv.cv, name='cv'),
]
