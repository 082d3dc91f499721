"""The words the worlds are made of: topics in five languages (one written right to left, one without spaces), places, titles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

LANGUAGES: Final = ("en", "es", "de", "ar", "ja")

# category | topic | emoji | en | es | de | ar | ja
_TOPICS = """
food|baking|🍞|bread,sourdough,cake,oven,dough,pastry|pan,masa,horno|Brot,Teig,Ofen|خبز,عجين,فرن|パン,生地,オーブン
food|street food|🌮|taco,noodle,market,spicy,grill,dumpling|taco,mercado,picante|Imbiss,Markt,Grill|شاورما,سوق,شواء|屋台,市場,焼き鳥
food|coffee|☕|espresso,latte,barista,beans,roast,brew|café,grano,tueste|Kaffee,Bohne,Röstung|قهوة,بن,تحميص|珈琲,豆,焙煎
food|vegan|🥗|tofu,salad,vegan,lentil,plant,bowl|ensalada,vegano,lenteja|Salat,Linsen,vegan|سلطة,نباتي,عدس|豆腐,菜食,野菜
sport|football|⚽|goal,penalty,striker,league,keeper,derby|gol,portero,liga|Tor,Elfmeter,Liga|هدف,حارس,دوري|サッカー,ゴール,選手
sport|basketball|🏀|dunk,hoop,court,rebound,playoffs,crossover|canasta,rebote,mate|Korb,Dunk,Halle|سلة,ملعب,رمية|ダンク,バスケ,試合
sport|running|🏃|marathon,pace,trail,sprint,runner,shoes|maratón,ritmo,zancada|Marathon,Läufer,Tempo|ماراثون,جري,عداء|マラソン,走る,靴
sport|climbing|🧗|boulder,route,grip,summit,rope,crux|roca,cuerda,cumbre|Fels,Seil,Gipfel|تسلق,حبل,قمة|岩,登山,頂上
music|guitar|🎸|guitar,riff,chord,solo,strings,amp|guitarra,acorde,cuerdas|Gitarre,Akkord,Saiten|جيتار,وتر,عزف|ギター,弦,和音
music|electronic|🎧|synth,techno,mix,bass,drop,remix|sintetizador,mezcla,bajo|Techno,Bass,Mischung|إيقاع,ريمكس,دي جي|シンセ,低音,リミックス
music|opera|🎭|aria,soprano,stage,tenor,libretto,choir|ópera,tenor,coro|Oper,Chor,Bühne|أوبرا,مسرح,جوقة|歌劇,合唱,舞台
music|rap|🎤|rap,freestyle,verse,beat,cypher,rhyme|rima,verso,barra|Reim,Vers,Flow|راب,قافية,مقطع|ラップ,韻,拍子
gaming|speedrun|🕹️|speedrun,glitch,record,skip,boss,frame|récord,truco,jefe|Rekord,Trick,Endgegner|رقم قياسي,خدعة,زعيم|最速,裏技,ボス
gaming|strategy|♟️|empire,siege,tactics,map,rush,build|imperio,asedio,táctica|Strategie,Belagerung,Karte|إمبراطورية,حصار,خطة|戦略,城,作戦
gaming|horror|👻|horror,jumpscare,asylum,ghost,night,basement|terror,fantasma,sótano|Horror,Geist,Keller|رعب,شبح,قبو|恐怖,幽霊,地下室
gaming|minecraft|⛏️|redstone,biome,castle,survival,creeper,village|castillo,aldea,bioma|Burg,Dorf,Redstone|قلعة,قرية,بقاء|村,城壁,生存
science|space|🚀|rocket,orbit,planet,moon,telescope,comet|cohete,órbita,planeta|Rakete,Mond,Planet|صاروخ,قمر,كوكب|宇宙,月,望遠鏡
science|physics|⚛️|quantum,gravity,particle,light,energy,entropy|cuántica,gravedad,luz|Quanten,Energie,Licht|جاذبية,ضوء,طاقة|量子,重力,光
science|biology|🧬|cell,enzyme,genome,evolution,virus,protein|célula,genoma,virus|Zelle,Evolution,Virus|خلية,جين,تطور|細胞,進化,遺伝子
science|mathematics|📐|proof,prime,geometry,theorem,infinity,integral|primo,teorema,geometría|Beweis,Primzahl,Satz|برهان,هندسة,عدد|証明,素数,幾何
animals|cats|🐱|cat,kitten,purr,whiskers,paws,meow|gato,gatito,ronroneo|Katze,Pfote,Schnurren|قطة,مواء,مخلب|猫,子猫,肉球
animals|dogs|🐶|dog,puppy,fetch,bark,leash,tail|perro,cachorro,ladrido|Hund,Welpe,Leine|كلب,جرو,نباح|犬,子犬,散歩
animals|ocean|🐙|octopus,reef,whale,shark,coral,diver|pulpo,ballena,arrecife|Krake,Wal,Riff|حوت,أخطبوط,مرجان|鯨,蛸,珊瑚
animals|birds|🦜|parrot,owl,falcon,nest,feather,migration|loro,búho,nido|Papagei,Eule,Nest|ببغاء,بومة,عش|鳥,梟,巣
travel|cities|🏙️|skyline,metro,rooftop,walk,district,neon|metro,barrio,azotea|Altstadt,Dach,U-Bahn|مدينة,مترو,حي|街,地下鉄,夜景
travel|hiking|🥾|trail,ridge,valley,tent,backpack,waterfall|sendero,valle,mochila|Wandern,Tal,Rucksack|مسار,وادي,خيمة|山道,谷,滝
travel|trains|🚆|locomotive,sleeper,station,rails,express,tunnel|tren,estación,vía|Bahnhof,Gleis,Zug|قطار,محطة,سكة|列車,駅,線路
travel|beaches|🏖️|island,surf,lagoon,sand,palm,sunset|isla,playa,ola|Insel,Strand,Welle|شاطئ,جزيرة,موج|島,海辺,波
craft|woodwork|🪚|oak,joint,chisel,plane,table,varnish|madera,cincel,mesa|Holz,Hobel,Tisch|خشب,نجارة,طاولة|木工,鉋,机
craft|painting|🎨|canvas,watercolor,brush,portrait,pigment,sketch|lienzo,acuarela,pincel|Leinwand,Pinsel,Aquarell|لوحة,فرشاة,رسم|絵画,水彩,筆
craft|sewing|🧵|dress,stitch,pattern,fabric,hem,needle|vestido,costura,tela|Kleid,Stoff,Naht|فستان,خياطة,قماش|洋裁,布,針
craft|electronics|🔌|solder,circuit,arduino,sensor,robot,resistor|circuito,robot,sensor|Schaltung,Roboter,Sensor|دائرة,روبوت,حساس|回路,電子,部品
"""

TITLES: Final[dict[str, tuple[str, ...]]] = {
    "en": ("How to {a} and {b}", "{a} vs {b}", "My best {a} {b} yet", "{a} {b} explained", "The truth about {a}", "{a}, {b}, {c} #{n}"),
    "es": ("Cómo hacer {a} y {b}", "{a} contra {b}", "Mi mejor {a} con {b}", "La verdad sobre {a}", "{a} y {b}, parte {n}"),
    "de": ("So geht {a} und {b}", "{a} gegen {b}", "Mein bestes {a} mit {b}", "Die Wahrheit über {a}", "{a} und {b}, Teil {n}"),
    "ar": ("كيف {a} و{b}", "{a} ضد {b}", "أفضل {a} مع {b}", "الحقيقة عن {a}", "{a} و{b} الجزء {n}"),
    "ja": ("{a}と{b}のやり方", "{a}対{b}", "最高の{a}と{b}", "{a}の真実", "{a}と{b} 第{n}回"),
}  # fmt: skip
BAIT: Final[dict[str, str]] = {
    "en": "YOU WON'T BELIEVE THIS", "es": "NO LO VAS A CREER", "de": "UNGLAUBLICH",
    "ar": "لن تصدق هذا", "ja": "衝撃",
}  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """One of the world's topics, with its words by language."""

    category: str
    name: str
    emoji: str
    words: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Place:
    """A city of the world."""

    city: str
    country: str
    language: str
    time_zone: str
    latitude: float
    longitude: float
    share: float  # of viewers and of creators


@cache
def topics() -> tuple[Topic, ...]:
    """The 32 topics, four to a category."""
    found = []
    for line in _TOPICS.strip().splitlines():
        category, name, emoji, *words = line.split("|")
        by_language = {k: tuple(w.split(",")) for k, w in zip(LANGUAGES, words, strict=True)}
        found.append(Topic(category, name, emoji, by_language))
    return tuple(found)


PLACES: Final = (
    Place("New York", "US", "en", "America/New_York", 40.71, -74.01, 0.16),
    Place("Austin", "US", "en", "America/Chicago", 30.27, -97.74, 0.10),
    Place("London", "GB", "en", "Europe/London", 51.51, -0.13, 0.12),
    Place("Madrid", "ES", "es", "Europe/Madrid", 40.42, -3.70, 0.10),
    Place("Mexico City", "MX", "es", "America/Mexico_City", 19.43, -99.13, 0.12),
    Place("Berlin", "DE", "de", "Europe/Berlin", 52.52, 13.41, 0.10),
    Place("Munich", "DE", "de", "Europe/Berlin", 48.14, 11.58, 0.06),
    Place("Cairo", "EG", "ar", "Africa/Cairo", 30.04, 31.24, 0.10),
    Place("Dubai", "AE", "ar", "Asia/Dubai", 25.20, 55.27, 0.04),
    Place("Tokyo", "JP", "ja", "Asia/Tokyo", 35.68, 139.69, 0.10),
)
COUNTRIES: Final = tuple(sorted({p.country for p in PLACES}))
