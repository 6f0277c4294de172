"""The form under a candidate's notes."""
from django import forms

from notes.models import Note, clean


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ['body', 'pinned']
        widgets = {'body': forms.Textarea(attrs={
            'class': 'form-control', 'rows': 3,
            'placeholder': 'What should the team know?', 'aria-label': 'Note'})}

    def clean_body(self):
        body = clean(self.cleaned_data['body'])
        if not body:
            raise forms.ValidationError('Nothing is left of this note.')
        return body
