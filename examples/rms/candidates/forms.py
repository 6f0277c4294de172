"""Forms of a candidate."""
from django import forms
from django.conf import settings

from candidates.models import Candidate

CV_TYPES = {'.pdf': b'%PDF', '.odt': b'PK', '.docx': b'PK', '.txt': b''}


class CandidateForm(forms.ModelForm):
    class Meta:
        model = Candidate
        fields = ['first_name', 'last_name', 'email', 'phone', 'city', 'position', 'source',
                  'experience', 'birth_date', 'applied_on', 'tags']
        widgets = {
            'birth_date': forms.DateInput(format='%Y-%m-%d', attrs={'type': 'date'}),
            'applied_on': forms.DateInput(format='%Y-%m-%d', attrs={'type': 'date'}),
            'tags': forms.SelectMultiple(attrs={'data-pick': 'tags'}),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            select = isinstance(field.widget, forms.Select)
            field.widget.attrs.setdefault('class', 'form-select' if select else 'form-control')

    def clean_email(self):
        return self.cleaned_data['email'].lower()


class CVForm(forms.ModelForm):
    class Meta:
        model = Candidate
        fields = ['cv']

    cv = forms.FileField(label='CV')

    def clean_cv(self):
        upload = self.cleaned_data['cv']
        ending = '.' + upload.name.rpartition('.')[2].lower()
        if ending not in CV_TYPES:
            raise forms.ValidationError('A CV is a PDF, ODT, DOCX or TXT file.')
        if upload.size > settings.CV_MAX_BYTES:
            raise forms.ValidationError('This file is larger than 5 MB.')
        start = upload.read(8)
        upload.seek(0)
        if not start.startswith(CV_TYPES[ending]):
            raise forms.ValidationError('This file is not what its name says.')
        return upload
