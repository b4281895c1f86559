"""What the Bureau of Meteorology calls the stations of the shipped catalogue: numbers, products, names and moves.

What belongs here: facts that identify a place in the Bureau's files. What does not: positions (``stations``), and the
decision which station a row is of (``recognition``).

A place of the catalogue is what weatherAUS calls a location. The Bureau publishes it as a product (IDCJDWnnnn, one file
a month), drawn from a main station with a six-digit number and for some elements from up to two others. A product
outlives a move of its main station: the place keeps its id, and each number it ever had is listed, the present one
first. Names and numbers are those of real files of 2024 and 2025; where none was at hand the comment says so.

Open pairs, for which public lists contradict each other, and how they are treated:

- Wollongong is product 2014 (Bellambi) in some lists and 2146 in others. The catalogue's position is that of Bellambi,
  so 2014 is this place. 2146 is not listed: its files count only when their title or station number says Wollongong.
- Melbourne is the regional office (086071, product 3050) in older lists and Olympic Park (086338, product 3033) in
  newer ones; when the weatherAUS table changed over is not known. Both are the place Melbourne.
- Adelaide is Kent Town (023090, product 5002, closed on 31 July 2020) in older lists and West Terrace (023000, product
  5081) in newer ones. Both are the place Adelaide.
- Cairns is product 4024 in real files and 4154 in two lists. 4154 is not listed: as 2146 above.

Some lists pair Perth with product 2012 and Richmond with 4100. Those are Bathurst and Richmond in Queensland, which are
not in the catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A station of the Bureau: its number, its name, and what is known of its time as the place's main station."""

    number: str
    name: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A station of the catalogue as the Bureau publishes it.

    ``name`` is the title of the present files, ``products`` and ``sites`` are in order from the present to the oldest,
    ``also`` are other names of the same place.
    """

    name: str
    products: tuple[str, ...]
    sites: tuple[Site, ...]
    also: tuple[str, ...] = ()


def _place(name: str, product: str, number: str, site: str, *also: str) -> Place:
    return Place(name, (product,), (Site(number, site),), also)


PLACES: Mapping[str, Place] = {
    "Adelaide": Place(
        "Adelaide (West Terrace / Ngayirdapira)",
        ("IDCJDW5081", "IDCJDW5002"),
        (
            Site("023000", "Adelaide (West Terrace / Ngayirdapira)", "reopened in May 2017"),
            Site("023090", "Adelaide (Kent Town)", "until 31 July 2020"),
        ),
    ),
    "Albany": _place("Albany", "IDCJDW6001", "009500", "Albany"),
    "Albury": _place("Albury-Wodonga", "IDCJDW2002", "072160", "Albury Airport AWS"),
    "AliceSprings": _place("Alice Springs", "IDCJDW8002", "015590", "Alice Springs Airport"),
    "BadgerysCreek": _place("Badgerys Creek", "IDCJDW2005", "067108", "Badgerys Creek AWS"),
    "Ballarat": _place("Ballarat", "IDCJDW3005", "089002", "Ballarat Aerodrome"),
    "Bendigo": _place("Bendigo", "IDCJDW3008", "081123", "Bendigo Airport"),
    "Brisbane": _place("Brisbane", "IDCJDW4019", "040913", "Brisbane"),
    "Cairns": _place("Cairns", "IDCJDW4024", "031011", "Cairns Aero"),
    "Canberra": _place("Canberra", "IDCJDW2801", "070351", "Canberra Airport"),
    "Cobar": _place("Cobar", "IDCJDW2029", "048027", "Cobar MO"),
    "CoffsHarbour": Place(
        "Coffs Harbour",
        ("IDCJDW2030",),
        (Site("059151", "Coffs Harbour Airport"), Site("059040", "Coffs Harbour MO", "until February 2015")),
    ),
    "Dartmoor": _place("Dartmoor", "IDCJDW3101", "090194", "Dartmoor"),
    "Darwin": _place("Darwin", "IDCJDW8014", "014015", "Darwin Airport"),
    "GoldCoast": _place("Gold Coast", "IDCJDW4050", "040764", "Gold Coast Seaway"),
    "Hobart": _place("Hobart", "IDCJDW7021", "094029", "Hobart (Ellerslie Road)"),
    "Katherine": _place("Tindal RAAF", "IDCJDW8048", "014932", "Tindal RAAF"),
    "Launceston": _place("Launceston", "IDCJDW7025", "091237", "Launceston (Ti Tree Bend)"),
    "Melbourne": Place(
        "Melbourne (Olympic Park)",
        ("IDCJDW3033", "IDCJDW3050"),
        (
            Site("086338", "Melbourne (Olympic Park)"),
            Site("086071", "Melbourne Regional Office", "before Olympic Park"),
        ),
    ),
    "MelbourneAirport": _place("Melbourne Airport", "IDCJDW3049", "086282", "Melbourne Airport"),
    "Mildura": _place("Mildura", "IDCJDW3051", "076031", "Mildura Airport"),
    "Moree": _place("Moree", "IDCJDW2084", "053115", "Moree Aero"),
    "MountGambier": _place("Mount Gambier", "IDCJDW5041", "026021", "Mount Gambier Aero", "Mt Gambier"),
    "MountGinini": _place("Mount Ginini", "IDCJDW2804", "070349", "Mount Ginini AWS", "Mt Ginini"),
    "Newcastle": _place("Newcastle", "IDCJDW2097", "061055", "Newcastle Nobbys Signal Station AWS"),
    "Nhil": _place("Nhill", "IDCJDW3059", "078015", "Nhill Aerodrome"),
    "NorahHead": _place("Norah Head", "IDCJDW2099", "061366", "Norah Head AWS"),
    "NorfolkIsland": _place("Norfolk Island", "IDCJDW2100", "200288", "Norfolk Island Aero"),
    "Nuriootpa": _place("Nuriootpa", "IDCJDW5049", "023373", "Nuriootpa Pirsa"),
    "PearceRAAF": _place("Pearce RAAF Base", "IDCJDW6108", "009053", "Pearce RAAF"),
    "Penrith": _place("Penrith", "IDCJDW2111", "067113", "Penrith Lakes AWS"),
    "Perth": _place("Perth", "IDCJDW6111", "009225", "Perth Metro"),  # no header seen: rows and a public project
    "PerthAirport": _place("Perth Airport", "IDCJDW6110", "009021", "Perth Airport"),
    "Portland": _place("Portland", "IDCJDW3068", "090171", "Portland Airport"),
    "Richmond": _place("Richmond", "IDCJDW2119", "067105", "Richmond RAAF"),  # no file seen: public lists
    "Sale": _place("Sale", "IDCJDW3022", "085072", "East Sale"),
    "SalmonGums": _place("Salmon Gums", "IDCJDW6119", "012071", "Salmon Gums Res.Stn."),
    "Sydney": Place(
        "Sydney",
        ("IDCJDW2124",),
        (
            Site("066214", "Sydney (Observatory Hill)"),
            Site("066062", "Sydney (Observatory Hill)", "before 066214, in lists until about 2018"),
        ),
    ),
    "SydneyAirport": _place("Sydney Airport", "IDCJDW2125", "066037", "Sydney Airport AMO"),
    "Townsville": _place("Townsville", "IDCJDW4128", "032040", "Townsville Aero"),
    "Tuggeranong": _place("Tuggeranong", "IDCJDW2802", "070339", "Tuggeranong (Isabella Plains) AWS"),
    "Uluru": _place("Yulara", "IDCJDW8056", "015635", "Yulara Airport"),
    "WaggaWagga": _place("Wagga Wagga", "IDCJDW2139", "072150", "Wagga Wagga AMO"),
    "Walpole": _place("Walpole", "IDCJDW6138", "009998", "North Walpole"),
    "Watsonia": _place("Watsonia", "IDCJDW3079", "086068", "Viewbank"),
    "Williamtown": _place("Williamtown", "IDCJDW2145", "061078", "Williamtown RAAF"),
    "Witchcliffe": _place("Witchcliffe (Margaret River District)", "IDCJDW6081", "109521", "Witchcliffe West"),
    "Wollongong": _place("Bellambi", "IDCJDW2014", "068228", "Bellambi AWS"),
    "Woomera": _place("Woomera", "IDCJDW5072", "016001", "Woomera Aerodrome"),
}
"""What the Bureau calls each station of the shipped catalogue, by its id."""

STATES: Mapping[str, str] = {
    "New South Wales": "NSW",
    "Victoria": "VIC",
    "Queensland": "QLD",
    "South Australia": "SA",
    "Western Australia": "WA",
    "Tasmania": "TAS",
    "Northern Territory": "NT",
    "Australian Capital Territory": "ACT",
    "External territory": "NFK",
    "External territories": "NFK",
}
"""The state in the title of the Bureau's files, in the words of the catalogue."""
