"""Small backbones trained by this repository on classes that no stream of the papers ever shows: ``python -m shared.vision.backbones conv4`` trains one.

    backbone = load("conv4")                                # .module, .card; also "conv4-1" (another seed) or a checkpoint of your own
    z = extract(backbone.module, images)                    # (n, n_features), batch norms in evaluation mode

``splits.py`` says which classes were used; ``recipes.py`` how; the card beside the weights with what result.
"""
