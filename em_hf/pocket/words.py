"""The words that the problems are told in, and words that nobody has seen before."""

import random

SHE = (
    "Mia Ana Zoe Lena Ruth Nora Ivy Priya Amina Clara Emma Lily Sara Kim Maria Alice Julia Anna Olga Ella Freya Ines "
    "Hanna Yara Aisha Wanda Sofia Lucy Grace Rosie Carmen Mei Sana Tara Vera Paula Helen Kate Jane Beth Molly Nina Eva "
    "Elsa Ingrid Lola Bella Ayesha Noor Keiko Fatima Chloe Dana Gina Hilda Iris Jill Kayla Linda Mary Naomi Olivia Pam"
).split()
HE = (
    "Tom Ben Omar Leo Sam Ravi Hugo Jack Felix Kofi John Max Paul Adam Noah David Peter Bob Ali Anton Bruno Carlos Dan "
    "Erik Frank George Henry Ivan Jonas Kurt Liam Mark Nick Oscar Pablo Quinn Ron Simon Tim Uwe Victor Will Xavier Ken "
    "Zack Mo Luis Raj Chen Hans Igor Jamal Lars Mike Nico Otto Phil Rico Steve Theo Vik Walter Yuri Arjun Luca Kwame"
).split()
HER_ROLES = (
    "my sister|my mother|my aunt|my grandmother|grandma|mom|my friend Ella|the queen|the teacher|a nurse|a farmer|a "
    "baker|"
    "a gardener|a cook|a girl|a woman|an artist|our neighbor|Mrs. Hill|Ms. Lopez|Aunt May|a shopkeeper|a tailor|a "
    "student"
).split("|")
HIS_ROLES = (
    "my brother|my father|my uncle|my grandfather|grandpa|dad|my friend Sam|the king|the coach|a painter|a farmer|a "
    "baker|"
    "a fisherman|a cook|a boy|a man|a carpenter|our neighbor|Mr. Brown|Mr. Cho|Uncle Joe|a clown|a mechanic|a collector"
).split("|")
THEIR_ROLES = (
    "the children|two friends|the twins|the students|the neighbors|my parents|the girls|the boys|the scouts|the "
    "players|"
    "the villagers|the kids"
).split("|")
RELATIVES = "mother father sister brother aunt uncle cousin friend neighbor teacher grandmother grandfather".split()
PEERS = "sister brother cousin friend neighbor teacher".split()  # who may be younger
SHE_RELATIVES = {"mother", "sister", "aunt", "grandmother", "cousin", "teacher"}

FOOD = (
    "apples cookies oranges eggs plums pears candies cakes nuts carrots cherries grapes lemons peaches bananas "
    "tomatoes "
    "potatoes onions sandwiches muffins pancakes waffles biscuits olives dates figs mangoes melons strawberries "
    "berries "
    "walnuts peanuts almonds pies pretzels donuts buns rolls loaves sausages burgers pizzas dumplings tacos cupcakes "
    "chocolates lollipops sweets mushrooms cucumbers peppers radishes beans peas noodles crackers chips meatballs "
    "snacks"
).split()
TOYS = (
    "marbles stickers stamps shells cards pencils beads coins buttons stones balloons flowers toys books dolls balls "
    "kites blocks puzzles crayons markers erasers ribbons bracelets rings badges postcards photos comics magazines "
    "pebbles feathers pins magnets bottles cups caps hats shirts socks scarves gloves shoes tickets tokens notebooks "
    "pens "
    "rulers envelopes candles lamps bricks nails screws boards bolts tiles plates bowls spoons forks mugs vases pots "
    "baskets chairs tables pillows blankets towels posters paintings drawings letters cars trucks robots bikes games "
    "keys"
).split()
PLANTS = (
    "roses tulips trees bushes daisies lilies seeds seedlings cabbages pumpkins sunflowers herbs bulbs ferns".split()
)
ANIMALS = (
    "hens cows sheep goats pigs horses ducks geese rabbits dogs cats fish frogs mice ants bees birds parrots pigeons "
    "sparrows crows owls swans turtles snakes lizards monkeys elephants lions tigers bears wolves foxes deer zebras "
    "giraffes camels donkeys ponies kittens puppies chickens turkeys butterflies snails crabs seals penguins whales "
    "dolphins sharks bats squirrels hedgehogs spiders"
).split()
BIRDS = (
    "birds pigeons sparrows crows owls swans ducks geese parrots gulls robins ravens storks finches bats bees".split()
)
SWIMMERS = "fish dolphins seals whales sharks turtles ducks swans penguins frogs crabs carps trouts otters".split()
PEOPLE = (
    "people students children passengers guests visitors kids players men women boys girls workers tourists customers "
    "teachers members dancers singers soldiers fans pupils swimmers runners hikers campers actors doctors babies"
).split()
VEHICLES = "cars trucks buses bikes boats ships trains planes taxis vans scooters motorbikes tractors".split()
PACKS = (
    "boxes bags packs baskets trays cartons jars crates bowls bundles drawers shelves envelopes sacks packets albums "
    "tins "
    "cases buckets piles tubs racks folders cabinets plates bunches stacks"
).split()
# Prepositions that are not "in".
ON = set(
    "bus train tram boat ship plane ferry subway coach street beach farm field roof wire fence wall branch shelf "
    "table lot pile "
    "meadow".split()
) | {"parking lot"}
AT = set("station market party concert playground office".split())
# How living things are, and other things.
LIVING_ARE = (
    "sick late asleep hungry absent young old tall small happy tired outside inside thirsty new awake busy wet dirty "
    "big sad "
    "white black brown male female".split()
)
THINGS_ARE = (
    "red blue green yellow broken empty old new bad big small sold wet dry dirty clean black white full round open "
    "closed wooden "
    "lost torn heavy light cheap plain".split()
)
# What one can do with what; other verbs go with everything.
DONE_TO = {
    "read": "pages books letters poems stories comics magazines".split(),
    "bake": "cookies cakes pies muffins rolls buns loaves pizzas cupcakes biscuits pancakes waffles pretzels".split(),
    "plant": "roses tulips trees bushes daisies lilies seeds seedlings cabbages pumpkins sunflowers bulbs carrots "
             "onions".split(),
    "catch": "fish frogs crabs butterflies mice trouts balls snails".split(),
    "score": "points goals runs".split(),
    "pick": "apples plums pears cherries berries grapes lemons strawberries mushrooms tomatoes flowers roses peas "
            "beans".split(),
    "draw": "pictures stars houses trees cats circles maps dogs faces lines".split(),
}  # fmt: skip
GOODS = (
    "lamp book pen ball shirt hat kite cake ticket game belt bag watch phone chair jacket scarf mug sandwich pizza "
    "magazine drink "
    "toy puzzle coat dress plant backpack sweater radio camera tent bike skirt juice coffee tea soup notebook pencil "
    "ruler cap"
).split()
PAIRS = (
    "shoes jeans gloves boots socks pants glasses skates sandals headphones sneakers flowers groceries tools paints"
).split()
COLORS = "red blue green yellow white black brown pink purple orange gold silver big small old new round square".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
GROUPS = {
    "animals": ANIMALS,
    "vehicles": VEHICLES,
    "people": [word for word in PEOPLE if word != "people"],
    "plants": PLANTS,
    "pieces of fruit": "apples oranges plums pears cherries lemons peaches bananas figs mangoes melons".split(),
    "vegetables": "carrots tomatoes potatoes onions cucumbers peppers radishes cabbages pumpkins".split(),
    "toys": "dolls balls kites blocks puzzles robots marbles".split(),
    "flowers": "roses tulips daisies lilies sunflowers".split(),
    "birds": BIRDS[1:-2],
}
THINGS = FOOD + TOYS + PLANTS
EVERYTHING = sorted({*THINGS, *ANIMALS, *PEOPLE, *VEHICLES})

_SINGULAR = {
    "people": "person", "children": "child", "men": "man", "women": "woman", "mice": "mouse", "geese": "goose",
    "sheep": "sheep", "fish": "fish", "deer": "deer", "loaves": "loaf", "shelves": "shelf", "wolves": "wolf",
    "scarves": "scarf", "pies": "pie", "cookies": "cookie", "shoes": "shoe", "cherries": "cherry", "movies": "movie",
    "buses": "bus", "coaches": "coach", "stories": "story", "knives": "knife", "hours": "hour", "axes": "axe",
    "caches": "cache",
}  # fmt: skip


def singular(plural: str) -> str:
    """Return the singular of a plural noun: "boxes" gives "box"."""
    if plural in _SINGULAR:
        return _SINGULAR[plural]
    if plural.endswith("ies"):
        return plural[:-3] + "y"
    if plural.endswith(("ches", "shes", "sses", "xes", "toes")):
        return plural[:-2]
    return plural.removesuffix("s")


def plural(noun: str) -> str:
    """Return the plural of a singular noun: "box" gives "boxes"."""
    if noun == "scarf":
        return "scarves"
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch")) else "s")


def a(noun: str) -> str:
    """Return a noun with its indefinite article: "an apple"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


_ONSETS = (
    "b c d f g h j k l m n p r s t v w z bl br ch cl cr dr fl gl gr kn ph pl qu sh sk sl sp st str th tr wh x y".split()
)
_VOWELS = "a e i o u a e i o u ai au ea ee ie io oa oo ou ue y".split()
_ENDS = ["", "", "", *"b d g l m n p r t x ck ff ld ll nd ng nt rd rk sk st".split()]


def invented(rng: random.Random) -> str:
    """Return a word of one to three syllables that no list holds, in small letters."""
    word = "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(rng.choice((1, 2, 2, 2, 3)))
    )
    return rng.choice("aeiou") + word if rng.random() < 0.15 else word


def invented_things(rng: random.Random) -> str:
    """Return an invented noun in the plural."""
    return plural(invented(rng))
