"""The words that the pocket problems are told with: people, things, places, and what happens to them.

A word that stands twice in a list is drawn twice as often. Verbs are given in the present, as "he" has them ("buys") or
as "they" do ("break"); `past` and `without_s` make the other forms. In the shorter tables ";" parts the rows and ","
the fields.
"""

from typing import NamedTuple


def _rows(table: str) -> list[list[str]]:
    return [row.split(",") for row in table.split(";")]


# People

WOMEN = (
    "Mia Ana Zoe Lena Ruth Nora Ivy Priya Amina Clara Emma Lily Sara Kim Maria Alice Julia Anna Eva Lucy Grace Hannah "
    "Sofia Olivia Chloe Ella Laura Kate Freya Ingrid Yuki Mei Leila Fatima Aisha Carmen Elena Nina Vera Olga Rita "
    "Paula Diana Helen Jane Mary Susan Linda Amy Molly Holly Daisy Ruby Bella Stella Ada Iris June Maya Tara Nadia "
    "Petra Signe Astrid Heidi Sally Wendy"
).split()
MEN = (
    "Tom Ben Omar Leo Sam Ravi Hugo Jack Felix Kofi John Max Paul Adam Noah David Peter Bob Ali Hassan Ivan Boris Igor "
    "Marco Luca Diego Pablo Juan Carlos Jorge Miguel Andre Pierre Jean Hans Otto Fritz Erik Lars Sven Olaf Arne Carl "
    "Dan Ed Frank George Harry Ian Jim Ken Liam Mark Nick Oscar Phil Rob Steve Tim Victor Will Zack Amir Kenji Hiro "
    "Chen Wei Raj Arjun Kwame Toby Theo Jonas"
).split()
# People without a name, known by a relation or a trade.
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
RELATIVES = SHE_RELATIVES + HE_RELATIVES
GENERATIONS = dict.fromkeys("mother aunt teacher father uncle coach".split(), 1)
GENERATIONS |= {"grandmother": 2, "grandfather": 2, "daughter": -1, "son": -1}
PEOPLE = (
    "people children students kids passengers visitors guests boys girls men women players tourists workers dancers "
    "runners swimmers adults campers fans pupils customers"
).split()
EATERS = ("guests", "friends", "children", "family")
GIVEN_TO = "friends children people students cousins neighbors".split()
SHARERS = "friends children people kids cousins students neighbors players brothers sisters".split()

# Things

FOOD = (
    "apples cookies oranges eggs plums pears candies cakes nuts carrots cherries grapes lemons peaches bananas "
    "tomatoes potatoes muffins rolls pies sandwiches pancakes berries strawberries mushrooms onions pizzas chocolates "
    "sweets lollipops donuts cupcakes waffles olives mangoes melons figs dates peppers cucumbers"
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
    "cows sheep hens ducks goats horses pigs dogs cats rabbits birds crows pigeons geese swans frogs fish bees "
    "sparrows turtles penguins seals monkeys lions deer foxes owls donkeys chickens parrots ants butterflies snails "
    "whales"
).split()
PACKS = (
    "boxes bags packs baskets trays jars crates bowls packets cartons sacks tins shelves drawers plates buckets "
    "bundles folders cases pots"
).split()
FILLED = [packs for packs in PACKS if packs not in ("shelves", "plates")]  # things lie in these, not on them
CONTAINERS = "box bag basket jar crate bowl sack tin drawer bucket case pot".split()
ROWS = "rows benches tables shelves rooms vans boats cars tents groups teams lines columns cages nests stacks".split()
LIVING = frozenset(PEOPLE + ANIMALS)
# Where the rows that are drawn do not fit what stands in them, others; the last are for all other things.
OTHER_ROWS = (
    (PEOPLE, dict(_rows("shelves,groups;cages,lines;nests,lines;stacks,groups"))),
    (ANIMALS, dict(_rows("benches,pens;tables,pens;shelves,pens;stacks,groups;teams,groups;columns,lines"))),
    (
        PLANTS,
        dict.fromkeys("benches tables rooms vans boats cars tents teams cages nests stacks shelves".split(), "rows"),
    ),
)
ROWS_OF_THINGS = dict(_rows("teams,stacks;cages,stacks;nests,stacks;tents,columns"))
COLORS = "red blue green yellow white black brown orange purple pink big small old new round long short".split()
EXTRA = "more more extra new".split()
# Each list of things, and what they are called in a sum.
CALLED = (
    (ANIMALS, "animals"),
    (ANIMALS, "animals"),
    (FOOD, "pieces of food"),
    (TOYS, "things"),
    (WARES, "things"),
    (PLANTS, "plants"),
    (PEOPLE, "people"),
)
# What has parts: "A ladder has 8 steps."
PARTS = _rows(
    "table,legs;house,windows;flower,petals;room,lamps;"
    "wagon,seats;train,cars;book,chapters;tree,branches;ladder,steps;bus,seats;star,points;coat,buttons;team,players;"
    "boat,sails;robot,arms;shirt,pockets;floor,rooms;garden,benches;"
    "guitar,strings;dress,bows;class,desks"
)
# A crowd, and the two kinds that it is made of.
TWO_KINDS = _rows(
    "children,boys,girls;kids,girls,boys;students,boys,girls;animals,cows,sheep;animals,cats,dogs;people,men,women;"
    "people,women,men;people,adults,children;flowers,roses,tulips;cars,taxis,vans;pets,dogs,cats;birds,ducks,geese"
)
# How people and things can be, and what the others are then; for animals, some words stand instead of those for things.
PEOPLE_ARE = ("tall;absent;wearing a hat;from France;new;on the bus;in the garden;outside;away;ill;hungry;tired").split(
    ";"
)
THINGS_ARE = "red;broken;old;sold;white;small;blue;missing;black;painted;damaged;wet;dirty".split(";")
ANIMALS_ARE = dict(_rows("red,brown;broken,ill;blue,tired;painted,young;damaged,hungry"))
OPPOSITES = dict(_rows("ill,well;absent,present;broken,fine;missing,there;dirty,clean;wet,dry"))
NOT_HERE = frozenset("absent;away;outside;missing;sold;ill;broken;in the garden;on the bus".split(";"))
LIVING_PARTED = _rows("asleep,awake;young,old;outside,inside")
THINGS_PARTED = _rows("broken,fine;old,new;wet,dry")

# Places and times


class Place(NamedTuple):
    """Where people, animals or things come and go.

    Attributes:
        names: of places of this kind.
        visitors: who or what is there.
        at: the preposition.
        come: the verbs of those who come, in the plural.
        go: the verbs of those who go, in the plural.
    """

    names: list[str]
    visitors: list[str]
    at: str
    come: list[str]
    go: list[str]


PLACES = [
    Place(names.split(";"), visitors.split(), at, come.split(";"), go.split(";"))
    for names, visitors, at, come, go in (
        ("bus", "passengers people children tourists", "on", "get on", "get off"),
        ("train", "passengers people tourists", "on", "get on", "get off"),
        ("tram", "passengers people", "on", "get on", "get off"),
        (
            "parking lot;lot;garage;street",
            "cars vans trucks bikes",
            "in",
            "arrive;drive in;come;park",
            "leave;drive off;drive away",
        ),
        (
            "tree;park;garden;yard;field",
            "birds crows pigeons sparrows owls parrots butterflies bees",
            "in",
            "land;fly in;arrive;come back",
            "fly away;leave;fly off",
        ),
        (
            "pond;lake;river;bay;tank;pool",
            "fish ducks swans geese turtles frogs seals whales penguins",
            "in",
            "swim in;come back;arrive;join them",
            "swim away;leave;are caught",
        ),
        (
            "barn;field;pen;yard;stable;meadow",
            "cows sheep hens goats horses pigs rabbits donkeys chickens",
            "in",
            "walk in;come back;are born;run in",
            "walk out;run away;are sold;leave",
        ),
        (
            "library;museum;cinema;park;shop;hall;zoo;cafe;restaurant;room;theater;store",
            "people children students visitors guests kids customers men women adults",
            "in",
            "come in;arrive;enter;walk in",
            "leave;go home;go out;walk out",
        ),
        (
            "team;club;choir;class;course;camp;school",
            "players members students children dancers kids campers",
            "in",
            "join;sign up;are added",
            "leave;quit;drop out;move away",
        ),
        (
            "party;picnic;wedding;meeting;concert;beach;playground;pool",
            "guests people children kids friends girls boys fans",
            "at",
            "arrive;come;join them;show up",
            "leave;go home;go away;have to leave",
        ),
        (
            "shelf;desk;table;rack;cart",
            "books magazines cups plates bottles toys comics",
            "on",
            "are put there;are added;are brought back",
            "are taken;are borrowed;fall down",
        ),
        (
            "box;basket;bag;jar;drawer;bowl;fridge;bucket",
            "apples cookies eggs marbles pencils coins lemons nuts candies oranges beads balls",
            "in",
            "are added;are put in",
            "are taken out;are eaten;are used",
        ),
        (
            "shop;store;warehouse;factory;school",
            "chairs bikes lamps shirts books boxes bottles hats tables",
            "in",
            "are delivered;arrive;are made",
            "are sold;are given away;are stolen",
        ),
    )
]
SCENES = _rows(
    "on,farm;in,zoo;in,shop;in,garden;in,box;in,room;in,park;on,table;in,school;in,class;in,kitchen;in,field;in,hall"
)
FOR_ANIMALS = "farm zoo garden park field".split()
FOR_PEOPLE = "class team town village group family club".split()
FOR_THINGS = "shop garden box field street house yard".split()
FOR_TWO_KINDS = "class farm room park group village garden choir club team".split()
FOR_ROWS = "hall garden school farm room house theater field camp kitchen shop barn cellar class bakery".split()
STOPS = ("station", "next stop", "school", "bridge", "church")
MARKETS = ("market", "shop", "store", "fair")
OUTINGS = (
    "at the party;at the market;at the picnic;at the fair;at the game;in the park;in the garden;on the train;on the way"
).split(";")
FAIRS = "fair show garden kitchen concert".split()
PURSES = ("wallet", "pocket", "piggy bank", "purse")

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
OCCASIONS = "at the market;in the garden;for a party;for school;for the class;at home;on the beach;in the woods".split(
    ";"
)
PAST_OCCASIONS = ("this morning", "last week", "yesterday")
TWO_TIMES = _rows("in the morning,in the afternoon;before noon,in the evening;yesterday,today;last week,this week")
THREE_TIMES = _rows(
    "in the morning,in the afternoon,in the evening;before noon,after noon,at night;yesterday,today,tonight;"
    "last week,this week,on the weekend;in May,in June,in July;in the first game,in the second game,in the third game"
)
PAST_TIMES = ("yesterday", "last week")
# How the next sentence of a story may begin.
SOMETIMES = (
    "Then ;Later ;After that ;Next ;Then ;Soon ;After lunch ;At noon ;In the evening ;That night ;The next day "
).split(";")

# Money

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
    "earns {amount} by washing cars;earns {amount} in the garden;gets {amount} from {his} grandmother;"
    "gets {amount} for {his} birthday;finds {amount} on the street;earns {amount};saves {amount} more;"
    "receives {amount};makes {amount} by selling lemonade;is paid {amount} for walking dogs;wins {amount};"
    "gets {amount} more;gets {amount} back"
).split(";")
SPENDINGS = (
    "spends {amount} on {ware};pays {amount} for {ware};buys {ware} for {amount};spends {amount};"
    "gives {amount} to {his} {relative};loses {amount};pays {amount} for {ware};lends {amount} to {friend};"
    "donates {amount}"
).split(";")

# What people do, and what happens to things

GETTING = "has has has buys finds picks collects makes gets owns brings".split()
# What one does with people and animals instead, where nobody can own or make them.
WITH_PEOPLE = dict(_rows("buys,counts;finds,finds"))  # else one sees them
WITH_ANIMALS = dict(_rows("picks,counts;makes,counts;collects,counts;brings,sees"))
GETTING_TWICE = "buys picks makes finds".split()
GAINS = "buys finds gets receives collects makes wins picks adds takes orders".split()
LOSSES = "loses;sells;gives away;uses;throws away;donates;returns".split(";")
EATING = "eats eats cooks serves".split()
SHARING = "shares divides splits".split()
LOST_FROM_A_SHARE = "loses;gives away;sells".split(";")
SETTING_UP = "sets up;counts;paints;arranges;has".split(";")
COMPARED = "has has collects finds picks makes buys sells gets wins counts draws carries needs sees catches".split()
TAKEN = ["are stolen", "are sold", "are given away", "go missing"]
ACCIDENTS = ["get lost", *TAKEN, "fall out", "are used"]  # befall things by themselves
SPOILING = "go bad;are eaten;rot;burn".split(";")
WITHERING = "die;fade;wither;are picked".split(";")
LEAVING = ("leave", "go away")
LIVING_LOST = dict.fromkeys(ACCIDENTS, "go away") | {"are sold": "leave", "are used": "run away", "go missing": "leave"}
NOT_KEPT = frozenset("makes sells counts needs sees".split())  # of `COMPARED`: one has nothing after it to lose
# What somebody does two or three times, and what is counted.
TASKS = _rows(
    "reads,pages;reads,books;walks,km;runs,miles;drives,miles;sells,tickets;writes,letters;bakes,cakes;makes,toys;"
    "sees,birds;works,hours;plants,trees;picks,apples;swims,laps;cycles,km;learns,words;scores,points;catches,fish;"
    "solves,puzzles;takes,photos;washes,cars;counts,stars;paints,pictures;studies,minutes"
)
# What somebody does every day, and what is counted.
HABITS = _rows(
    "walks,km;runs,miles;reads,pages;swims,laps;cycles,km;drives,miles;works,hours;bakes,cakes;writes,pages;"
    "earns,dollars;saves,dollars;makes,toys;learns,words;drinks,cups of tea;sleeps,hours;draws,pictures;eats,apples;"
    "sells,cakes;does,push-ups;practices,hours;picks,plums"
)
# Who or what does so much in an hour, and its unit.
RATES = _rows(
    "car,drives,km;train,goes,km;bus,drives,miles;boat,sails,miles;bike,goes,km;snail,crawls,cm;plane,flies,miles;"
    "machine,makes,toys;printer,prints,pages;tap,gives,liters;machine,fills,bottles;hen,lays,eggs;factory,builds,cars;"
    "baker,bakes,rolls"
)

# Measures

# How two differ, and what follows the number of each.
SIZES = _rows(
    "older,;older, years old;taller, cm tall;heavier, kg;longer, meters long;taller, inches tall;higher, meters high"
)
SIZED = "rope ribbon river road table wall tree bridge tower snake fence board pole".split()
# What is done bit by bit, its unit, and its kind; then how each kind is done, and what is still to do.
LENGTHS = _rows(
    "rope,meters,cut;ribbon,cm,cut;board,inches,cut;pipe,feet,cut;string,cm,cut;wire,meters,cut;road,km,way;"
    "trail,miles,way;trip,km,way;race,km,way;book,pages,book;movie,minutes,time;film,minutes,time;"
    "song book,pages,book;show,minutes,time"
)
PROGRESS = {
    "cut": ("cuts off", "uses", "sells"),
    "way": ("walks", "drives", "runs", "covers"),
    "book": ("reads", "has read"),
    "time": ("watches", "has seen"),
}
STILL_TO = {"way": "go", "book": "read", "time": "watch"}
# Each operation in words and in signs.
OPERATIONS = {
    "+": (("plus", "and", "added to"), "+"),
    "-": (("minus", "take away"), "-"),
    "×": (("times", "multiplied by"), "x*×x*"),
    "÷": (("divided by",), "/÷:"),
}
ASKED_OF_A_SUM = (
    "What is {0}?;{0} = ?;{0};Calculate {0}.;How much is {0}?;{0} =;{0}?;Compute {0}.;What's {0}?;What does {0} make?;"
    "Work out {0}.;{0} is what?"
).split(";")

# Forms

IRREGULAR = dict(
    _rows(
        "cookies,cookie;pies,pie;movies,movie;sheep,sheep;fish,fish;deer,deer;geese,goose;people,person;children,child;"
        "men,man;women,woman;potatoes,potato;tomatoes,tomato;mangoes,mango;shelves,shelf;scarves,scarf;knives,knife"
    )
)
PAST = dict(
    _rows(
        "am,was;are,were;break,broke;bring,brought;buy,bought;catch,caught;come,came;cost,cost;cut,cut;do,did;"
        "draw,drew;drink,drank;drive,drove;drop,dropped;eat,ate;fall,fell;find,found;fly,flew;get,got;give,gave;"
        "go,went;have,had;keep,kept;leave,left;lend,lent;lose,lost;make,made;pay,paid;put,put;quit,quit;read,read;"
        "rot,rotted;run,ran;see,saw;sell,sold;set,set;sleep,slept;spend,spent;split,split;swim,swam;take,took;"
        "throw,threw;win,won;write,wrote"
    )
)


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


def fitting_rows(things: str, rows: str) -> str:
    """The rows given, or others in which such things, animals or people rather stand."""
    instead = next((others for kind, others in OTHER_ROWS if things in kind), ROWS_OF_THINGS)
    return instead.get(rows, rows)


def with_article(noun: str) -> str:
    """The noun after "a" or "an", by its first letter."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def a_time(unit: str) -> str:
    """A unit of time with its article: "a day", but "an hour"."""
    return "an hour" if unit == "hour" else f"a {unit}"


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


def past(verb: str) -> str:
    """The past of a verb, from its form with "he" or with "they": "gives away" and "give away" become "gave away"."""
    first, *rest = without_s(verb).split(" ")
    if first in PAST:
        first = PAST[first]
    elif first.endswith("e"):
        first += "d"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = first[:-1] + "ied"
    else:
        first += "ed"
    return " ".join([first, *rest])
