"""The hundred emoji of the vote: shortcode, unicode, name of the RPC, in the order of the proto.

Source: BuoyantIO/emojivoto proto/Voting.proto (names and order), GitHub's shortcodes.
"""

from __future__ import annotations

import re

_TABLE = """
Poop 1F4A9|Joy 1F602|Sunglasses 1F60E|Relaxed 263A|StuckOutTongueWinkingEye 1F61C
MoneyMouthFace 1F911|Flushed 1F633|Mask 1F637|NerdFace 1F913|Ghost 1F47B
SkullAndCrossbones 2620|HeartEyesCat 1F63B|HearNoEvil 1F649|SeeNoEvil 1F648|SpeakNoEvil 1F64A
Boy 1F466|Girl 1F467|Man 1F468|Woman 1F469|OlderMan 1F474
Policeman 1F46E|Guardsman 1F482|ConstructionWorkerMan 1F477|Prince 1F934|Princess 1F478
ManInTuxedo 1F935|BrideWithVeil 1F470|MrsClaus 1F936|Santa 1F385|Turkey 1F983
Rabbit 1F430|NoGoodWoman 1F645|OkWoman 1F646|RaisingHandWoman 1F64B|BowingMan 1F647
ManFacepalming 1F926 200D 2642 FE0F|WomanShrugging 1F937 200D 2640 FE0F|MassageWoman 1F486
WalkingMan 1F6B6|RunningMan 1F3C3|Dancer 1F483|ManDancing 1F57A|DancingWomen 1F46F
Rainbow 1F308|Skier 26F7|GolfingMan 1F3CC|SurfingMan 1F3C4|BasketballMan 26F9
BikingMan 1F6B4|PointUp2 1F446|VulcanSalute 1F596|Metal 1F918|CallMeHand 1F919
Thumbsup 1F44D|Wave 1F44B|Clap 1F44F|RaisedHands 1F64C|Pray 1F64F
Dog 1F436|Cat2 1F408|Pig 1F437|HatchingChick 1F423|Snail 1F40C
Bacon 1F953|Pizza 1F355|Taco 1F32E|Burrito 1F32F|Ramen 1F35C
Doughnut 1F369|Champagne 1F37E|TropicalDrink 1F379|Beer 1F37A|TumblerGlass 1F943
WorldMap 1F5FA|BeachUmbrella 1F3D6|MountainSnow 1F3D4|Camping 1F3D5|SteamLocomotive 1F682
FlightDeparture 1F6EB|Rocket 1F680|Star2 1F31F|SunBehindSmallCloud 1F324|CloudWithRain 1F327
Fire 1F525|JackOLantern 1F383|Balloon 1F388|Tada 1F389|Trophy 1F3C6
Iphone 1F4F1|Pager 1F4DF|Fax 1F4E0|Bulb 1F4A1|MoneyWithWings 1F4B8
CrystalBall 1F52E|Underage 1F51E|Interrobang 2049|100 1F4AF|CheckeredFlag 1F3C1
CrossedSwords 2694|FloppyDisk 1F4BE
"""

_WORD = re.compile(r"[A-Z][a-z]*\d?|\d+")
# PointUp2 is the one whose digit GitHub sets apart.
_APART = {":point_up2:": ":point_up_2:"}


def _entries() -> list[tuple[str, str, str]]:
    rows = []
    for entry in filter(None, re.split(r"[|\n]", _TABLE)):
        name, *codes = entry.split()
        shortcode = ":" + "_".join(_WORD.findall(name)).lower() + ":"
        unicode = "".join(chr(int(code, 16)) for code in codes)
        rows.append((name, _APART.get(shortcode, shortcode), unicode))
    return rows


#: (name in the RPC `Vote<name>`, shortcode, unicode) of each emoji.
EMOJI: list[tuple[str, str, str]] = _entries()
#: shortcode → unicode.
UNICODE = {shortcode: unicode for _, shortcode, unicode in EMOJI}
#: shortcode → name of the RPC.
RPC = {shortcode: f"Vote{name}" for name, shortcode, _ in EMOJI}
