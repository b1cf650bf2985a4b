"""The largest, longest, fastest order that each vendor takes is one that the studio takes."""

from services.simulator.domain import elevenlabs, google, heygen, kie, leonardo
from tests.simulator.clients import SPEAKER, heygen_v2, heygen_v3, leonardo_v2


def test_kie_takes_no_more_than_the_studio() -> None:
    for name, image in kie.MODELS.items():
        for ratio in image.ratios:
            for size in image.prices_credits:
                given = {"prompt": "x" * image.prompt_chars[1], "aspect_ratio": ratio}
                kie.read_order({"model": name, "input": {**given, "resolution": size}})
    for name, film in kie.FILMS.items():
        for size, prices in film.prices_credits.items():
            for ratio in kie.FILM_RATIOS:
                given = {"prompt": "x" * 5000, "aspect_ratio": ratio, "duration": max(prices)}
                images = {"image_urls": ["https://u.test/"] * film.max_images}
                body = {**given, **images, "resolution": size}
                kie.read_order({"model": name, "input": body})
    for name in kie.SPEECHES:
        kie.read_order({"model": name, "input": {"text": "x" * 5000, "speed": 1.2}})


def test_google_takes_no_more_than_the_studio() -> None:
    for model in google.PRICES_CENTS:
        for ratio in google.RATIOS:
            config = {"imageConfig": {"aspectRatio": ratio, "imageSize": "4K"}}
            contents = [{"parts": [{"text": "x" * google.PROMPT_CHARS_MAX}]}]
            google.read_order(model, {"contents": contents, "generationConfig": config})


def test_heygen_takes_no_more_than_the_studio() -> None:
    for ratio in heygen.RATIOS:
        for speed in (0.5, 1.5):
            body = heygen_v3("x" * 5000, resolution="4k", aspect_ratio=ratio)
            heygen.read_v3({**body, "voice_settings": {"speed": speed}})
    many = heygen_v2("x" * 5000, dimension={"width": 3840, "height": 2160})
    many["video_inputs"] *= heygen.SCENES_MAX
    heygen.read_v2(many)
    heygen.read_v2(heygen_v2("x", dimension={"width": 129, "height": 128}))


def test_leonardo_takes_no_more_than_the_studio() -> None:
    for name, image in leonardo.IMAGES.items():
        for side in image.sides_px:
            leonardo.read_v2(leonardo_v2("x" * 1500, name, width=side, height=side))
    for name, film in leonardo.FILMS.items():
        for size in film.credits_per_s:
            for duration in film.durations_s:
                for width, height in ((16, 9), (9, 16), (1, 1)):
                    body = {"prompt": "x", "model": name, "duration": duration}
                    resolution = f"RESOLUTION_{size[:-1]}"
                    shape = {"width": width, "height": height, "resolution": resolution}
                    leonardo.read_text_to_video({**body, **shape})


def test_elevenlabs_takes_no_more_than_the_studio() -> None:
    for name, model in elevenlabs.MODELS.items():
        for speed in (0.7, 1.2):
            body = {"text": "x" * model.chars_max, "model_id": name}
            elevenlabs.read_order(SPEAKER, "", {**body, "voice_settings": {"speed": speed}})
