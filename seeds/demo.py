"""Demonstration events that look like real ones, in several languages, scripts, currencies and time zones.

What must stay true: the n-th event has the id `n`, whatever was asked for; every date lies at least 60 days after
today, so that a demonstration never goes stale; the same day gives the same events. Pure: today is passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from seeds.plan import Plan
from ticketing.model import Event

DAYS_AHEAD = 60
ANY_MONTH = tuple(range(1, 13))
MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = range(7)


@dataclass(frozen=True, slots=True)
class _Season:
    """When an event fits: a time of a weekday in one of these months."""

    months: Sequence[int]
    weekday: int
    begins: time


@dataclass(frozen=True, slots=True)
class _Venue:
    """Where it takes place, who invites, and how it is paid there."""

    name: str
    address: str
    organiser: str
    timezone: str
    currency: str


@dataclass(frozen=True, slots=True)
class _Show:
    """What is given there."""

    title: str
    venue: _Venue
    season: _Season
    price: str
    accent: str


@dataclass(frozen=True, slots=True)
class _House:
    """A venue that gives many events: its titles, and its usual prices."""

    venue: _Venue
    prices: tuple[str, str, str]
    titles: tuple[str, str, str, str, str]


SHOWS = (
    _Show(
        "Aurora String Quartet: Songs from the North",
        _Venue(
            "St Brannoc's Hall", "14 Queen Street, Edinburgh EH2 1JE", "Northbound Concerts", "Europe/London", "GBP"
        ),
        _Season(ANY_MONTH, SATURDAY, time(19, 30)),
        "38.50",
        "#1f4e79",
    ),
    _Show(
        "Sommernacht der Filmmusik: großes Orchester unter freiem Himmel",
        _Venue(
            "Waldbühne Süßenbach",
            "Am Schlosspark 3, 04277 Leipzig",
            "Klangwerk Veranstaltungen",
            "Europe/Berlin",
            "EUR",
        ),
        _Season((6, 7, 8), FRIDAY, time(20, 0)),
        "49.00",
        "#8c2f39",
    ),
    _Show(
        "観月の夕べ ― 雅楽と能",
        _Venue("月影能楽堂", "京都府京都市左京区岡崎円勝寺町44", "月影文化財団", "Asia/Tokyo", "JPY"),
        _Season((9, 10), SUNDAY, time(17, 0)),
        "6800",
        "#5b3f8c",
    ),
    _Show(
        "ليلة المقامات: أغانٍ خالدة بأصوات جديدة",
        _Venue(
            "مسرح النيل المفتوح", "٢٧ شارع كورنيش النيل، الزمالك، القاهرة", "دار النغم للفنون", "Africa/Cairo", "EGP"
        ),
        _Season((3, 4, 10, 11), THURSDAY, time(21, 0)),
        "450.00",
        "#0b6e4f",
    ),
    _Show(
        "Noche de Tango: gran gala de orquesta y baile",
        _Venue(
            "Teatro del Puerto Viejo",
            "Av. Corrientes 1743, C1042 Buenos Aires",
            "Compás Producciones",
            "America/Argentina/Buenos_Aires",
            "ARS",
        ),
        _Season(ANY_MONTH, SATURDAY, time(21, 30)),
        "28500.00",
        "#b4471f",
    ),
)

HOUSES = (
    _House(
        _Venue("Salle des Tilleuls", "8 rue de la Paix, 44000 Nantes", "Les Voix d'Été", "Europe/Paris", "EUR"),
        ("32.00", "45.00", "58.00"),
        ("Nuit du piano", "Le Barbier de Séville", "Jazz à la française", "Molière : L'Avare", "Gala de danse"),
    ),
    _House(
        _Venue("Filharmonia Żurawia", "ul. Długa 21, 31-147 Kraków", "Fundacja Brzmienie", "Europe/Warsaw", "PLN"),
        ("90.00", "120.00", "160.00"),
        ("Wieczór Chopinowski", "Muzyka źródeł", "Straszny dwór", "Noc jazzu", "Koncert noworoczny"),
    ),
    _House(
        _Venue("Θέατρο Πέτρας", "Λεωφόρος Ηρώων 12, Αθήνα 121 31", "Αττικές Σκηνές", "Europe/Athens", "EUR"),
        ("25.00", "35.00", "48.00"),
        ("Αντιγόνη", "Ρεμπέτικη βραδιά", "Λυσιστράτη", "Συναυλία υπό τα άστρα", "Όρνιθες"),
    ),
    _House(
        _Venue("Філармонія на Подолі", "вул. Сагайдачного 6, Київ", "Дім музики", "Europe/Kyiv", "UAH"),
        ("450.00", "600.00", "900.00"),
        ("Щедрий вечір", "Симфонія світла", "Вечір бандури", "Лісова пісня", "Джаз на Дніпрі"),
    ),
    _House(
        _Venue("새벽홀", "서울특별시 종로구 세종대로 175", "한빛공연예술", "Asia/Seoul", "KRW"),
        ("55000", "77000", "99000"),
        ("판소리 춘향가", "겨울 나그네", "국악 한마당", "봄의 실내악", "재즈의 밤"),
    ),
    _House(
        _Venue("नटराज सभागृह", "14 महात्मा गांधी मार्ग, मुंबई 400001", "स्वर संगम", "Asia/Kolkata", "INR"),
        ("800.00", "1200.00", "2500.00"),
        ("संगीत संध्या", "कथक महोत्सव", "राग और रंग", "ग़ज़ल की शाम", "बाँसुरी की रात"),
    ),
    _House(
        _Venue("היכל הצלילים", "שדרות רוטשילד 40, תל אביב", "קולות הים", "Asia/Jerusalem", "ILS"),
        ("140.00", "190.00", "260.00"),
        ("ערב שירי ארץ", "לילה של ג'אז", "ארבע העונות", "מחול עכשווי", "קונצרט גאלה"),
    ),
    _House(
        _Venue("Casa das Marés", "Rua do Ouvidor 110, Rio de Janeiro", "Brisa Produções", "America/Sao_Paulo", "BRL"),
        ("120.00", "180.00", "260.00"),
        ("Noite de Choro", "Bossa à Beira-Mar", "Samba de Raiz", "Orquestra do Sertão", "Canções de Verão"),
    ),
    _House(
        _Venue("Tui Street Theatre", "52 Cuba Street, Te Aro, Wellington", "Southerly Arts", "Pacific/Auckland", "NZD"),
        ("45.00", "65.00", "89.00"),
        ("Kapa Haka Gala", "A Winter's Tale", "Brass on the Harbour", "Stand-up Sunday", "The Planets"),
    ),
    _House(
        _Venue("لؤلؤة الخليج", "شارع الخليج العربي، مدينة الكويت", "ليالي الفن", "Asia/Kuwait", "KWD"),
        ("12.500", "18.000", "25.000"),
        ("ليلة العود", "أنغام الخليج", "أمسية شعرية", "أصوات من البحر", "حفل الربيع"),
    ),
)

ACCENTS = ("#23577a", "#7a2346", "#2d6a4f", "#8a5a12", "#4a3f92", "#a23b2a", "#1f6f78", "#5c4033", "#6a2c70", "#33691e")


def plans(events: int, tickets: int, today: date) -> list[Plan]:
    """The first `events` demonstration events, each with `tickets`, as seen from `today`."""
    return [Plan(_event(number, today), tickets) for number in range(1, events + 1)]


def next_date(today: date, months: Sequence[int], weekday: int) -> date:
    """The first day of this weekday in one of these months that is at least 60 days away."""
    day = today + timedelta(days=DAYS_AHEAD)
    while day.weekday() != weekday or day.month not in months:
        day += timedelta(days=1)
    return day


def _event(number: int, today: date) -> Event:
    show = SHOWS[number - 1] if number <= len(SHOWS) else _further(number - len(SHOWS) - 1)
    day = next_date(today + timedelta(weeks=_weeks_later(number)), show.season.months, show.season.weekday)
    zone = ZoneInfo(show.venue.timezone)
    starts_at_ms = int(datetime.combine(day, show.season.begins, zone).timestamp()) * 1000
    return Event(
        event_id=str(number),
        name=show.title,
        venue=show.venue.name,
        starts_at_ms=starts_at_ms,
        timezone=show.venue.timezone,
        price_amount=show.price,
        price_currency=show.venue.currency,
        address=show.venue.address,
        organiser=show.venue.organiser,
        accent=show.accent,
        closes_ms=starts_at_ms,
    )


def _weeks_later(number: int) -> int:
    """Further events spread over the year after the first five."""
    return 0 if number <= len(SHOWS) else number % 52


def _further(index: int) -> _Show:
    """The index-th event after the first five: every house in turn, its next title each time round."""
    house = HOUSES[index % len(HOUSES)]
    turn = index // len(HOUSES)
    again, title = divmod(turn, len(house.titles))
    return _Show(
        house.titles[title] + (f" · {again + 1}" if again else ""),
        house.venue,
        _Season(ANY_MONTH, (turn + index) % 7, time(18 + index % 3, 30 * (turn % 2))),
        house.prices[turn % len(house.prices)],
        ACCENTS[(index + turn) % len(ACCENTS)],
    )
