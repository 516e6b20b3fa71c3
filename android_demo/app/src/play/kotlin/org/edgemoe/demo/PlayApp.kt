package org.edgemoe.demo

/** The app with a bundle of asset packs, as `edge-moe pack --play` lays them out. Unproven: see [PlayDelivery]. */
class PlayApp : DemoApp() {
    override val delivery by lazy { PlayDelivery(this) }
}
