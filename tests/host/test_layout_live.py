"""A predicted layout in the real server: through the host's canvas and back, into the picture."""

from live_server import Server

PROMPT = "a red ball to the left of a blue ring"


def graph(canvas: bool) -> dict:
    """Predict Layout → Create Bounding Boxes, where the host has it → Layout from Boxes → Apply → picture."""

    def node(kind: str, **inputs) -> dict:
        return {"class_type": kind, "inputs": inputs}

    size = {"width": 128, "height": 128}
    predictor = {"predictor": "solver", "predictor.size": 1.0, "predictor.margin": 0.04, "predictor.gap": 0.02}
    prompt = {
        "1": node("FidelityLoadDemoModel"),
        "2": node("FidelityExtractTargets", clip=["1", 1], text=PROMPT, words=""),
        "3": node("CLIPTextEncode", clip=["1", 1], text=""),
        "4": node("EmptyLatentImage", batch_size=1, **size),
        "5": node("FidelityPredictLayout", targets=["2", 1], seed=0, **predictor, **size),
        "7": node("FidelityLayoutFromBoxes", targets=["2", 1], boxes=["6", 2] if canvas else ["5", 3], json="", **size),
        "8": node("FidelitySelectMethod", **{"method": "space_time", "method.preset": "paper"}),
        "9": node("FidelityApply", model=["1", 0], method=["8", 0], targets=["2", 1], strength=1.0, start_percent=0.0,
                  end_percent=1.0, layout=["7", 0]),
        "10": node("KSampler", model=["9", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0], seed=1,
                   steps=4, cfg=2.0, sampler_name="euler", scheduler="normal", denoise=1.0),
        "11": node("VAEDecode", samples=["10", 0], vae=["1", 2]),
        "12": node("SaveImage", images=["11", 0], filename_prefix="layout"),
        "13": node("PreviewImage", images=["5", 1]),
        "14": node("PreviewImage", images=["7", 1]),
    }  # fmt: skip
    if canvas:
        prompt["6"] = node("CreateBoundingBoxes", bboxes=["5", 3], editor_state={"__value__": []}, **size)  # not a link
    return prompt


def test_a_layout_goes_over_the_canvas_into_the_picture(server: Server):
    canvas = "CreateBoundingBoxes" in server.get_json("/object_info")
    run = server.run(graph(canvas), timeout=180)
    assert len(run.outputs["12"]["images"]) == 1
    assert run.outputs["13"]["images"] and run.outputs["14"]["images"]
