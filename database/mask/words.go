package mask

// What names and addresses are made of: plain ASCII, no quotes, so that SQL
// can hold them as they are.
var (
	firstNames = []string{
		"Ada", "Adam", "Agata", "Alan", "Alicja", "Anna", "Antoni", "Beata", "Bruno", "Celina", "Cezary", "Dagmara", "Daniel", "Daria", "Edyta", "Emil",
		"Ewa", "Feliks", "Filip", "Gaja", "Gustaw", "Hanna", "Henryk", "Ida", "Igor", "Iga", "Jan", "Joanna", "Julia", "Kamil", "Karol", "Kinga",
		"Lena", "Leon", "Maja", "Marek", "Maria", "Milena", "Natan", "Nina", "Olaf", "Olga", "Oskar", "Pola", "Piotr", "Rita", "Robert", "Roman",
		"Sara", "Stefan", "Tamara", "Tomasz", "Ula", "Urban", "Vera", "Viktor", "Wanda", "Witold", "Zenon", "Zofia", "Zuzanna", "Tola", "Borys", "Lidia",
	}
	lastNames = []string{
		"Akacja", "Bielik", "Borsuk", "Bratek", "Brzoza", "Buk", "Cietrzew", "Czapla", "Czeremcha", "Deren", "Drozd", "Fiolek", "Gawron", "Gil", "Grab", "Grusza",
		"Irys", "Jagoda", "Jarzab", "Jaskolka", "Jawor", "Jelen", "Jesion", "Kalina", "Karas", "Kasztan", "Klon", "Konik", "Kruk", "Kukulka", "Kuna", "Lawenda",
		"Leszczyna", "Lilia", "Lin", "Lipa", "Malina", "Mewa", "Modrzew", "Myszolow", "Olcha", "Orlik", "Osika", "Perkoz", "Piwonia", "Pliszka", "Rokitnik", "Roza",
		"Rys", "Sikora", "Skowronek", "Sokol", "Sosna", "Szczygiel", "Szpak", "Swierk", "Topola", "Trznadel", "Tulipan", "Wierzba", "Wilga", "Wrzos", "Zuraw", "Zubr",
	}
	streets = []string{
		"Brzozowa", "Cicha", "Dolna", "Dluga", "Gorna", "Jasna", "Kolejowa", "Krotka", "Kwiatowa", "Lesna", "Lipowa", "Lakowa", "Mostowa", "Nowa", "Ogrodowa", "Polna",
		"Poludniowa", "Prosta", "Rzeczna", "Sadowa", "Sloneczna", "Sosnowa", "Spacerowa", "Stara", "Szkolna", "Sredni Rynek", "Topolowa", "Wiosenna", "Wodna", "Zachodnia", "Zielona", "Zimowa",
	}
	towns = []string{
		"Nowawies", "Starawies", "Zarzecze", "Podlas", "Przystan", "Zagorze", "Jeziorno", "Borki", "Dabrowka", "Kamionka", "Lipiny", "Miedzyrzecze", "Olszynka", "Piaski", "Rudka", "Zalesie",
	}
)

const lorem = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua ut enim ad minim veniam quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat "
