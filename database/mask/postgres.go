package mask

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// SaltSetting is where the functions of Postgres look for the salt: it must
// not be part of a statement, which the server might log.
const SaltSetting = "bosman.salt"

// Postgres writes a plan for PostgreSQL 13 and later. The functions come
// first, with SaltSetting set, in the session that runs the updates.
func Postgres(p Plan, salt string) Script {
	quote := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	d := dialect{quote: quote, table: func(schema, table string) string { return quote(schema) + "." + quote(table) }}
	s := p.script(d, func(_ int, m Masked) string { return postgresValue(m, quote(m.Column.Name), salt) })
	s.Functions = postgresFunctions()
	return s
}

func postgresValue(m Masked, column, salt string) string {
	kind, constant := strings.CutPrefix(m.Kind, bosman.MaskConstant)
	switch {
	case m.Kind == "null":
		return "NULL"
	case constant:
		return "CASE WHEN " + column + " IS NOT NULL THEN " + postgresText(kind) + "::" + m.Column.Type + " END"
	case m.Kind == "date":
		return fmt.Sprintf("%s + %d * interval '1 day'", column, DateShift(salt))
	}
	value := column + "::text"
	if m.fold {
		value = "lower(" + value + ")"
	}
	fake := fmt.Sprintf("pg_temp.bosman_fake(%s, %s, %d, %t)", postgresText(m.Kind), value, m.room, m.unique)
	if m.Column.Class == UUID {
		fake += "::uuid"
	}
	return fake
}

func postgresText(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func array(list []string) string {
	quoted := slices.Clone(list)
	for i, w := range quoted {
		quoted[i] = "'" + w + "'"
	}
	return "(ARRAY[" + strings.Join(quoted, ",") + "])"
}

// postgresFunctions compute what Fake does.
func postgresFunctions() []string {
	pick := func(list []string, at int) string {
		return array(list) + "[1 + mod(pg_temp.bosman_bits(h, " + strconv.Itoa(at) + ", 4), " + strconv.Itoa(len(list)) + ")::int]"
	}
	body := strings.NewReplacer(
		"{first0}", pick(firstNames, 0), "{last0}", pick(lastNames, 0), "{last4}", pick(lastNames, 4),
		"{street}", pick(streets, 0), "{town}", pick(towns, 4),
		"{lorem}", "'"+lorem+"'", "{loremlen}", strconv.Itoa(len(lorem)),
		"{host}", "'"+emailHost+"'", "{base}", strconv.Itoa(emailBase),
	).Replace(fakeSQL)
	return []string{hashSQL, bitsSQL, numberSQL, lettersSQL, turnSQL, turnedSQL, fitSQL, body}
}

const lastRound = "3" // of turn

const (
	hashSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_hash(kind text, value text) RETURNS text LANGUAGE sql STABLE AS $bosman$
	SELECT encode(sha256(convert_to(current_setting('` + SaltSetting + `') || chr(31) || kind || chr(31) || value, 'UTF8')), 'hex') $bosman$`

	bitsSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_bits(h text, at int, n int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $bosman$
	SELECT ('x' || lpad(substr(h, at + 1, n), 15, '0'))::bit(60)::bigint $bosman$`

	// Halves of up to 12 digits are reckoned as bigint: ten times as fast.
	turnSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_turn(s text, base int) RETURNS text LANGUAGE plpgsql STABLE AS $bosman$
	DECLARE n int := length(s); m int; h text; l text; r text; size bigint; c bigint; wide numeric; wides numeric;
		salt text := current_setting('` + SaltSetting + `') || chr(31) || 'turn' || chr(31);
	BEGIN
		IF n = 0 THEN RETURN s; END IF;
		IF n = 1 THEN
			c := mod(CASE WHEN base = 10 THEN s::int ELSE ascii(s) - 97 END + 1
				+ mod(('x' || substr(encode(sha256(convert_to(salt || '1:' || base, 'UTF8')), 'hex'), 1, 15))::bit(60)::bigint, base - 1), base);
			RETURN CASE WHEN base = 10 THEN c::text ELSE chr(97 + c::int) END;
		END IF;
		l := left(s, n / 2);
		r := substr(s, n / 2 + 1);
		FOR i IN 0..` + lastRound + ` LOOP
			m := CASE WHEN i % 2 = 0 THEN n / 2 ELSE n - n / 2 END;
			h := encode(sha256(convert_to(salt || i || ':' || n || ':' || base || ':' || r, 'UTF8')), 'hex');
			IF base = 10 AND m <= 12 THEN
				size := ('1' || repeat('0', m))::bigint;
				c := mod(('x' || substr(h, 1, 15))::bit(60)::bigint + l::bigint, size);
				l := r;
				r := lpad(c::text, m, '0');
			ELSE
				wide := ('x' || substr(h, 1, 15))::bit(60)::bigint;
				IF m > 12 THEN
					wide := wide * 1152921504606846976 + ('x' || substr(h, 16, 15))::bit(60)::bigint;
				END IF;
				wides := 1;
				FOR k IN 1..m LOOP wides := wides * base; END LOOP;
				IF base = 10 THEN
					wide := mod(wide + l::numeric, wides);
					l := r;
					r := lpad(wide::text, m, '0');
				ELSE
					wide := mod(wide + pg_temp.bosman_number(l), wides);
					l := r;
					r := pg_temp.bosman_letters(wide, m);
				END IF;
			END IF;
		END LOOP;
		RETURN l || r;
	END $bosman$`

	numberSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_number(s text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $bosman$
	DECLARE n numeric := 0;
	BEGIN
		FOR i IN 1..length(s) LOOP n := n * 26 + (ascii(substr(s, i, 1)) - 97); END LOOP;
		RETURN n;
	END $bosman$`

	lettersSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_letters(n numeric, width int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $bosman$
	DECLARE s text := '';
	BEGIN
		FOR i IN 1..width LOOP
			s := chr(97 + mod(n, 26)::int) || s;
			n := div(n, 26);
		END LOOP;
		RETURN s;
	END $bosman$`

	turnedSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_turned(value text, letters boolean) RETURNS text LANGUAGE plpgsql STABLE AS $bosman$
	DECLARE d text; l text := ''; c text; word text := ''; di int := 0; li int := 0;
		upper_ text := 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'; lower_ text := 'abcdefghijklmnopqrstuvwxyz';
	BEGIN
		IF value !~ '[^0-9]' THEN
			RETURN pg_temp.bosman_turn(value, 10);
		END IF;
		d := pg_temp.bosman_turn(regexp_replace(value, '[^0-9]', '', 'g'), 10);
		IF letters THEN
			l := pg_temp.bosman_turn(translate(regexp_replace(value COLLATE "C", '[^A-Za-z]', '', 'g'), upper_, lower_), 26);
		END IF;
		FOR i IN 1..length(value) LOOP
			c := substr(value, i, 1);
			IF strpos('0123456789', c) > 0 THEN
				di := di + 1;
				c := substr(d, di, 1);
			ELSIF letters AND strpos(lower_, c) > 0 THEN
				li := li + 1;
				c := substr(l, li, 1);
			ELSIF letters AND strpos(upper_, c) > 0 THEN
				li := li + 1;
				c := translate(substr(l, li, 1), lower_, upper_);
			END IF;
			word := word || c;
		END LOOP;
		RETURN word;
	END $bosman$`

	fitSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_fit(value text, h text, room int, uniq boolean) RETURNS text LANGUAGE sql IMMUTABLE AS $bosman$
	SELECT CASE
		WHEN uniq AND room BETWEEN 1 AND 13 THEN left(h, room)
		WHEN uniq AND room > 0 THEN left(value, room - 13) || ' ' || left(h, 12)
		WHEN uniq THEN value || ' ' || left(h, 12)
		WHEN room > 0 THEN left(value, room)
		ELSE value END $bosman$`

	fakeSQL = `CREATE OR REPLACE FUNCTION pg_temp.bosman_fake(kind text, value text, room int, uniq boolean) RETURNS text LANGUAGE plpgsql STABLE AS $bosman$
	DECLARE h text; n int;
	BEGIN
		IF value IS NULL OR value = '' THEN RETURN value; END IF;
		IF kind = 'phone' THEN
			IF value ~ '^[+][0-9][0-9]' THEN
				RETURN left(value, 3) || pg_temp.bosman_turned(substr(value, 4), false);
			END IF;
			RETURN pg_temp.bosman_turned(value, false);
		ELSIF kind = 'code' THEN
			RETURN pg_temp.bosman_turned(value, true);
		END IF;
		h := pg_temp.bosman_hash(kind, value);
		CASE kind
		WHEN 'email' THEN
			RETURN 'u' || left(h, CASE WHEN room > 0 AND room < {base} + 16 THEN room - {base} ELSE 16 END) || {host};
		WHEN 'hash' THEN
			RETURN left(h, CASE WHEN room > 0 AND room < 32 THEN room ELSE 32 END);
		WHEN 'first_name' THEN
			RETURN pg_temp.bosman_fit({first0}, h, room, uniq);
		WHEN 'last_name' THEN
			RETURN pg_temp.bosman_fit({last0}, h, room, uniq);
		WHEN 'name' THEN
			RETURN pg_temp.bosman_fit({first0} || ' ' || {last4}, h, room, uniq);
		WHEN 'address' THEN
			RETURN pg_temp.bosman_fit((1 + mod(pg_temp.bosman_bits(h, 8, 4), 99))::text || ' ' || {street} || ', ' || {town}, h, room, uniq);
		ELSE
			n := mod(pg_temp.bosman_bits(h, 0, 4), {loremlen})::int;
			RETURN pg_temp.bosman_fit(substr(repeat({lorem}, (length(value) + n) / {loremlen} + 1), n + 1, length(value)), h, room, uniq);
		END CASE;
	END $bosman$`
)
