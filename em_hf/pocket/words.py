"""The words that the pocket problems are told with: people, things, places, and what happens to them."""

WOMEN = (
    "Mia Ana Zoe Lena Ruth Nora Ivy Priya Amina Clara Emma Lily Sara Kim Maria Alice Julia Anna Eva Lucy Grace Hannah "
    "Sofia Olivia Chloe Ella Laura Kate     Freya Ingrid Yuki Mei Leila Fatima Aisha Carmen Elena "
    "Nina Vera Olga Rita Paula Diana Helen Jane Mary Susan Linda Amy Molly Holly Daisy Ruby Bella Stella   "
    " Ada Iris June Maya Tara Nadia Petra Signe Astrid Heidi Sally Wendy "
).split()
MEN = (
    "Tom Ben Omar Leo Sam Ravi Hugo Jack Felix Kofi John Max Paul Adam Noah David Peter Bob      "
    " Ali Hassan Ivan Boris Igor Marco Luca Diego Pablo Juan Carlos Jorge Miguel Andre Pierre Jean Hans Otto Fritz "
    "Erik Lars Sven Olaf Arne Carl Dan Ed Frank George Harry Ian Jim Ken Liam Mark Nick Oscar Phil Rob Steve Tim "
    "Victor Will Zack Amir Kenji Hiro Chen Wei Raj Arjun Kwame Toby Theo Jonas"
).split()
# (as the subject, he, him, his): people without a name, known by a relation or a trade.
WOMEN_KNOWN_AS = (
    "my mother;my sister;my aunt;my grandmother;grandma;mom;my teacher;the teacher;a teacher;a nurse;the queen;"
    "a girl;the girl;a woman;my daughter;our neighbor;a student;the cook;a baker;a gardener;a doctor;a librarian"
).split(";")
MEN_KNOWN_AS = (
    "my father;my brother;my uncle;my grandfather;grandpa;dad;a farmer;the farmer;a baker;the baker;a boy;the boy;"
    "a man;my son;my friend;a fisherman;a builder;the gardener;a cook;a painter;a student;a driver;a shopkeeper"
).split(";")
SHE_RELATIVES = "sister mother aunt cousin friend grandmother daughter neighbor teacher".split()
HE_RELATIVES = "brother father uncle cousin friend grandfather son neighbor coach".split()

FOOD = (
    "apples cookies oranges eggs plums pears candies cakes nuts carrots cherries grapes lemons peaches bananas tomatoes "
    "potatoes muffins rolls pies sandwiches pancakes berries strawberries mushrooms onions pizzas chocolates sweets "
    "lollipops donuts cupcakes waffles olives mangoes melons figs dates peppers cucumbers"
).split()
TOYS = (
    "marbles stickers stamps shells cards pencils beads coins buttons stones balloons flowers toys books pens crayons "
    "ribbons dolls kites balls blocks puzzles badges postcards photos magazines comics erasers notebooks rulers "
    "bracelets feathers tickets tokens cups plates spoons candles keys masks"
).split()
WARES = (
    "hats lamps shirts chairs tables bags boots gloves scarves socks mugs bowls bottles brushes clocks bikes tents "
    "umbrellas pillows blankets towels mirrors baskets vases jars belts sweaters jackets pots pans tools"
).split()
PLANTS = "tulips roses trees bushes seeds bulbs beans cabbages pumpkins lilies daisies sunflowers seedlings".split()
ANIMALS = (
    "cows sheep hens ducks goats horses pigs dogs cats rabbits birds crows pigeons geese swans frogs fish bees sparrows "
    "turtles penguins seals monkeys lions deer foxes owls donkeys chickens parrots ants butterflies snails whales"
).split()
PEOPLE = (
    "people children students kids passengers visitors guests boys girls men women players tourists workers dancers "
    "runners swimmers adults campers fans pupils customers"
).split()
PACKS = (
    "boxes bags packs baskets trays jars crates bowls packets cartons sacks tins shelves drawers plates buckets bundles "
    "folders cases pots"
).split()
PLACED = "rows benches tables shelves rooms vans boats cars tents groups teams lines columns cages nests stacks".split()
# Who or what has parts: "A spider has 8 legs."
PARTS = (
    ("cart", "wheels"),
    ("car", "wheels"),
    ("dog", "legs"),
    ("table", "legs"),
    ("house", "windows"),
    ("flower", "petals"),
    ("bike", "wheels"),
    ("hand", "fingers"),
    ("room", "lamps"),
    ("wagon", "seats"),
    ("train", "cars"),
    ("book", "chapters"),
    ("tree", "branches"),
    ("ladder", "steps"),
    ("bus", "seats"),
    ("star", "points"),
    ("coat", "buttons"),
    ("team", "players"),
    ("week", "days"),
    ("insect", "legs"),
    ("boat", "sails"),
    ("robot", "arms"),
    ("shirt", "pockets"),
    ("crab", "claws"),
    ("chair", "legs"),
    ("floor", "rooms"),
    ("garden", "benches"),
    ("guitar", "strings"),
    ("dress", "bows"),
    ("class", "desks"),
)
COLORS = "red blue green yellow white black brown orange purple pink big small old new round long short".split()
# A place, who is there, the preposition, and how they come and go: present and past.
PLACES = (
    ("bus", "passengers people children tourists", "on", (("get on", "got on"),), (("get off", "got off"),)),
    ("train", "passengers people tourists", "on", (("get on", "got on"),), (("get off", "got off"),)),
    ("tram", "passengers people", "on", (("get on", "got on"),), (("get off", "got off"),)),
    (
        "parking lot;lot;garage;street",
        "cars vans trucks bikes",
        "in",
        (("arrive", "arrived"), ("drive in", "drove in"), ("come", "came"), ("park", "parked")),
        (("leave", "left"), ("drive off", "drove off"), ("drive away", "drove away")),
    ),
    (
        "tree;park;garden;yard;field",
        "birds crows pigeons sparrows owls parrots butterflies bees",
        "in",
        (("land", "landed"), ("fly in", "flew in"), ("arrive", "arrived"), ("come back", "came back")),
        (("fly away", "flew away"), ("leave", "left"), ("fly off", "flew off")),
    ),
    (
        "pond;lake;river;bay;tank;pool",
        "fish ducks swans geese turtles frogs seals whales penguins",
        "in",
        (("swim in", "swam in"), ("come back", "came back"), ("arrive", "arrived"), ("join them", "joined them")),
        (("swim away", "swam away"), ("leave", "left"), ("are caught", "were caught")),
    ),
    (
        "barn;field;pen;yard;stable;meadow",
        "cows sheep hens goats horses pigs rabbits donkeys chickens",
        "in",
        (("walk in", "walked in"), ("come back", "came back"), ("are born", "were born"), ("run in", "ran in")),
        (("walk out", "walked out"), ("run away", "ran away"), ("are sold", "were sold"), ("leave", "left")),
    ),
    (
        "library;museum;cinema;park;shop;hall;zoo;cafe;restaurant;room;theater;store",
        "people children students visitors guests kids customers men women adults",
        "in",
        (("come in", "came in"), ("arrive", "arrived"), ("enter", "entered"), ("walk in", "walked in")),
        (("leave", "left"), ("go home", "went home"), ("go out", "went out"), ("walk out", "walked out")),
    ),
    (
        "team;club;choir;class;course;camp;school",
        "players members students children dancers kids campers",
        "in",
        (("join", "joined"), ("sign up", "signed up"), ("are added", "were added")),
        (("leave", "left"), ("quit", "quit"), ("drop out", "dropped out"), ("move away", "moved away")),
    ),
    (
        "party;picnic;wedding;meeting;concert;beach;playground;pool",
        "guests people children kids friends girls boys fans",
        "at",
        (("arrive", "arrived"), ("come", "came"), ("join them", "joined them"), ("show up", "showed up")),
        (("leave", "left"), ("go home", "went home"), ("go away", "went away"), ("have to leave", "had to leave")),
    ),
    (
        "shelf;desk;table;rack;cart",
        "books magazines cups plates bottles toys comics",
        "on",
        (("are put there", "were put there"), ("are added", "were added"), ("are brought back", "were brought back")),
        (("are taken", "were taken"), ("are borrowed", "were borrowed"), ("fall down", "fell down")),
    ),
    (
        "box;basket;bag;jar;drawer;bowl;fridge;bucket",
        "apples cookies eggs marbles pencils coins lemons nuts candies oranges beads balls",
        "in",
        (("are added", "were added"), ("are put in", "were put in")),
        (("are taken out", "were taken out"), ("are eaten", "were eaten"), ("are used", "were used")),
    ),
    (
        "shop;store;warehouse;factory;school",
        "chairs bikes lamps shirts books boxes bottles hats tables",
        "in",
        (("are delivered", "were delivered"), ("arrive", "arrived"), ("are made", "were made")),
        (("are sold", "were sold"), ("are returned", "were returned"), ("break", "broke")),
    ),
)
SOMETIMES = (  # how the next sentence of a story may begin
    "Then ;Later ;After that ;Next ;Then ;Soon ;After lunch ;At noon ;In the evening ;That night ;The next day "
).split(";")
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
TRIPS = "walks;walked;runs;ran;cycles;cycled;swims;swam;drives;drove;hikes;hiked;rides;rode;jogs;jogged".split(";")
UNITS = "km miles meters kilometers laps".split()
MONEY = ("dollars", "dollars", "dollars", "dollars", "euros", "pounds", "coins", "cents")
ONE_WARE = (
    "a book;a hat;a lamp;a pen;a ticket;a sandwich;a magazine;a toy;a belt;a drink;lunch;a kite;a cake;a ball;a scarf;"
    "a cup of tea;a shirt;a bag;a coffee;a movie;a notebook;a puzzle;a mug;dinner;a plant;an ice cream;a snack;"
    "a birthday card;a pair of socks;a game;a train ticket;a haircut"
).split(";")
TWO_WARES = (
    "book lamp backpack shirt jacket coat hat bag chair table ticket phone bike dress tent clock radio camera guitar "
    "kettle toy watch helmet ball puzzle game mirror pillow blanket cap"
).split()
EARNINGS = (
    ("earns {} by washing cars", "earned {} by washing cars"),
    ("earns {} in the garden", "earned {} in the garden"),
    ("gets {} from {his} grandmother", "got {} from {his} grandmother"),
    ("gets {} for {his} birthday", "got {} for {his} birthday"),
    ("finds {} on the street", "found {} on the street"),
    ("earns {}", "earned {}"),
    ("saves {} more", "saved {} more"),
    ("receives {}", "received {}"),
    ("makes {} by selling lemonade", "made {} by selling lemonade"),
    ("is paid {} for walking dogs", "was paid {} for walking dogs"),
    ("wins {}", "won {}"),
    ("gets {} more", "got {} more"),
    ("gets {} back", "got {} back"),
)
SPENDINGS = (
    ("spends {} on {ware}", "spent {} on {ware}"),
    ("pays {} for {ware}", "paid {} for {ware}"),
    ("buys {ware} for {}", "bought {ware} for {}"),
    ("spends {}", "spent {}"),
    ("gives {} to {his} {relative}", "gave {} to {his} {relative}"),
    ("loses {}", "lost {}"),
    ("pays {} for {ware}", "paid {} for {ware}"),
    ("lends {} to {friend}", "lent {} to {friend}"),
    ("donates {}", "donated {}"),
)
# What a person does to have things: present and past; then whether the things come or are made by it.
GETTING = (
    ("has", "had"),
    ("has", "had"),
    ("has", "had"),
    ("buys", "bought"),
    ("finds", "found"),
    ("picks", "picked"),
    ("collects", "collected"),
    ("makes", "made"),
    ("gets", "got"),
    ("owns", "owned"),
    ("brings", "brought"),
)
COMPARED = (
    ("has", "had", "have"),
    ("has", "had", "have"),
    ("collects", "collected", "collect"),
    ("finds", "found", "find"),
    ("picks", "picked", "pick"),
    ("makes", "made", "make"),
    ("buys", "bought", "buy"),
    ("sells", "sold", "sell"),
    ("gets", "got", "get"),
    ("wins", "won", "win"),
    ("counts", "counted", "count"),
    ("draws", "drew", "draw"),
    ("carries", "carried", "carry"),
    ("needs", "needed", "need"),
    ("sees", "saw", "see"),
    ("catches", "caught", "catch"),
)
GAINS = (
    ("buys", "bought"),
    ("finds", "found"),
    ("gets", "got"),
    ("receives", "received"),
    ("collects", "collected"),
    ("makes", "made"),
    ("wins", "won"),
    ("picks", "picked"),
    ("adds", "added"),
    ("takes", "took"),
    ("orders", "ordered"),
)
LOSSES = (
    ("loses", "lost"),
    ("sells", "sold"),
    ("gives away", "gave away"),
    ("uses", "used"),
    ("breaks", "broke"),
    ("throws away", "threw away"),
    ("drops", "dropped"),
    ("donates", "donated"),
    ("returns", "returned"),
)
EATING = (("eats", "ate"), ("eats", "ate"), ("cooks", "cooked"), ("serves", "served"))
ACCIDENTS = (  # what befalls things by itself: present and past
    ("break", "broke"),
    ("get lost", "got lost"),
    ("are stolen", "were stolen"),
    ("are sold", "were sold"),
    ("are given away", "were given away"),
    ("go missing", "went missing"),
    ("fall out", "fell out"),
    ("are broken", "were broken"),
    ("are used", "were used"),
)
SPOILING = (("go bad", "went bad"), ("are eaten", "were eaten"), ("rot", "rotted"), ("burn", "burned"))
WITHERING = (("die", "died"), ("fade", "faded"), ("wither", "withered"), ("are picked", "were picked"))
EXTRA = "more;more;extra;new".split(";")
IRREGULAR = {
    "cookies": "cookie",
    "pies": "pie",
    "movies": "movie",
    "sheep": "sheep",
    "fish": "fish",
    "deer": "deer",
    "geese": "goose",
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "potatoes": "potato",
    "tomatoes": "tomato",
    "mangoes": "mango",
    "shelves": "shelf",
    "scarves": "scarf",
    "knives": "knife",
}


def singular(plural: str) -> str:
    """The singular of a regular plural, or of one in `IRREGULAR`."""
    if plural in IRREGULAR:
        return IRREGULAR[plural]
    if plural.endswith("ies"):
        return plural[:-3] + "y"
    if plural.endswith(("ches", "shes", "xes", "sses")):
        return plural[:-2]
    return plural.removesuffix("s")


def plural(word: str) -> str:
    """The plural of a word, the reverse of `singular`."""
    for many, one in IRREGULAR.items():
        if one == word:
            return many
    if word.endswith(("ch", "sh", "x", "ss")) or word == "bus":
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def without_s(verb: str) -> str:
    """A verb as "I" and "they" have it, from its form with "he": "gives away" becomes "give away"."""
    first, *rest = verb.split(" ")
    special = {"has": "have", "is": "am", "does": "do", "goes": "go"}
    if first in special:
        first = special[first]
    elif first.endswith("ies"):
        first = first[:-3] + "y"
    elif first.endswith(("ches", "shes", "xes", "sses")):
        first = first[:-2]
    else:
        first = first.removesuffix("s")
    return " ".join([first, *rest])
