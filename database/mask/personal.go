package mask

import (
	"slices"
	"strings"
	"unicode"

	bosman "github.com/bosman-cd/bosman"
)

// pattern tells a type of personal data by the words in a column's name.
type pattern struct {
	kind    string
	words   []string // one of them is there
	pairs   []string // or two of them, one behind the other: "first name"
	classes []Class
	suggest string
}

// In this order: what an e-mail address is comes before what an address is.
var patterns = []pattern{
	{"password", words("password passwd passwort haslo pwd passphrase"), pairs("pass hash", "pass word", "pass phrase"), []Class{Text, Bytes}, "hash"},
	{"token", words("token secret otp totp apikey cookie"), pairs("api key", "access key", "private key", "session key", "auth key", "session data", "recovery code", "backup code"), []Class{Text, Bytes, UUID}, "hash"},
	{"email", words("email emails mail mails"), pairs("e mail"), []Class{Text}, "email"},
	{"phone", words("phone phones phonenumber mobile cell cellphone tel telephone telefon komorka fax msisdn whatsapp"), nil, []Class{Text, Number}, "phone"},
	{"birth", words("birth birthday birthdate dob born dateofbirth urodzenia"), nil, []Class{Text, Date}, "date"},
	{"iban", words("iban bban cardnumber creditcard"), pairs("account number", "bank account", "card number", "credit card"), []Class{Text, Number}, "code"},
	{"ssn", words("ssn pesel nip passport taxid nino"), pairs("national id", "tax id", "tax number", "social security", "identity card", "id card"), []Class{Text, Number}, "code"},
	{"address", words("address addresses addr street ulica postcode zipcode zip postal ip"), nil, []Class{Text, Network}, "address"},
	{
		"name", words("firstname lastname fullname surname forename username login nickname nazwisko imie middlename"),
		pairs("first name", "last name", "full name", "middle name", "given name", "family name", "maiden name", "user name", "nick name", "display name", "contact name", "customer name", "client name", "author name", "person name"),
		[]Class{Text},
		"name",
	},
}

// people are words in names of tables whose "name" is a person's.
var people = words("user users person persons people customer customers client clients contact contacts candidate candidates employee employees member members patient patients student students author authors guest guests applicant applicants subscriber subscribers profile profiles account accounts")

func words(s string) []string { return strings.Fields(s) }

func pairs(s ...string) []string { return s }

// Personal says which of bosman.MaskTypes a column looks like, by its name,
// and which kind suits it; "" if like none. A column that cannot hold such a
// thing (email_confirmed boolean, token_expires_at) is none.
func Personal(c Column) (kind, suggest string) {
	name := split(c.Name)
	has := func(list []string) bool {
		return slices.ContainsFunc(list, func(w string) bool { return slices.Contains(name, w) })
	}
	joined := " " + strings.Join(name, " ") + " "
	for _, p := range patterns {
		found := has(p.words) || slices.ContainsFunc(name, p.ends) || slices.ContainsFunc(p.pairs, func(pair string) bool { return strings.Contains(joined, " "+pair+" ") })
		if !found || c.Generated {
			continue
		}
		if slices.Contains(p.classes, c.Class) {
			return p.kind, suggestion(p, c)
		}
		if c.Class == Mixed && slices.Contains(p.classes, Text) {
			return p.kind, nothing(c)
		}
	}
	if c.Class == Text && (c.Name == "name" || c.Name == "Name") &&
		slices.ContainsFunc(split(c.Table), func(w string) bool { return slices.Contains(people, w) }) {
		return "name", "name"
	}
	return "", ""
}

// endings are those of words that run together, as PostgreSQL folds names:
// useremail, emailaddress, mobilephone.
var endings = map[string][]string{
	"email":   {"email", "emailaddress", "emailaddr"},
	"phone":   {"phone", "phonenumber"},
	"address": {"address"},
}

// devices end like phone numbers.
var devices = words("iphone smartphone headphone earphone microphone megaphone saxophone")

func (p pattern) ends(word string) bool {
	return !slices.Contains(devices, word) && slices.ContainsFunc(endings[p.kind], func(end string) bool { return strings.HasSuffix(word, end) })
}

// nothing is the kind for a column whose values cannot be invented.
func nothing(c Column) string {
	switch {
	case !c.NotNull:
		return "null"
	case strings.HasSuffix(c.Type, "[]"), strings.HasPrefix(c.Type, "json"):
		return bosman.MaskConstant + "{}"
	case c.Type == "xml":
		return bosman.MaskConstant + "<masked/>"
	case strings.HasSuffix(c.Type, "hstore"):
		return bosman.MaskConstant + "masked=>1"
	}
	return bosman.MaskConstant + "masked"
}

// wordsOf gives the type of what is masked in the table of a column that holds
// the words of others; "" if nothing is.
func wordsOf(words Column, kinds map[bosman.ColumnName]string, cat Catalog) string {
	for _, c := range cat.Columns {
		if kind, listed := kinds[c.name()]; !listed || kind == "keep" || c.Schema != words.Schema || c.Table != words.Table || c.Class != Text && c.Class != Mixed {
			continue
		}
		if t, _ := Personal(c); t != "" {
			return t
		}
		return "name"
	}
	return ""
}

func suggestion(p pattern, c Column) string {
	name := split(c.Name)
	switch {
	case c.Class == Network && c.NotNull:
		return "constant:0.0.0.0"
	case c.Class == Number || c.Class == Network || c.Class == Bytes, p.kind == "birth" && c.Class == Text:
		if c.NotNull {
			return "constant:0"
		}
		return "null"
	case p.kind == "name" && (slices.Contains(name, "first") || slices.Contains(name, "firstname") || slices.Contains(name, "given")):
		return "first_name"
	case p.kind == "name" && (slices.Contains(name, "last") || slices.Contains(name, "lastname") || slices.Contains(name, "surname") || slices.Contains(name, "family")):
		return "last_name"
	case p.kind == "password" && !c.Unique:
		return "constant:!" // no password fits it
	}
	return p.suggest
}

// split takes a name apart at case and at everything that is no letter or
// digit: "userEmail2" and "user_email_2" give user, email, 2.
func split(name string) []string {
	var out []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			out = append(out, strings.ToLower(word.String()))
			word.Reset()
		}
	}
	var last rune
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
		case unicode.IsUpper(r) && unicode.IsLower(last), unicode.IsDigit(r) && !unicode.IsDigit(last), unicode.IsLetter(r) && unicode.IsDigit(last):
			end()
			word.WriteRune(r)
		default:
			word.WriteRune(r)
		}
		last = r
	}
	end()
	return out
}
