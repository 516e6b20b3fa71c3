package edgemoe.core

import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path

/** What the bundle is, and what may be chosen later: the two files that name themselves. */
const val MANIFEST = "manifest.json"
const val OPERATING = "operating.json"

/** Of either; what is larger is not read. */
const val MOST_JSON_BYTES = 16L shl 20
private const val TODO = "copy or convert the bundle again"

/** Where the files of a bundle lie: a folder, or on a phone the asset packs that it came in. */
interface Store {
    /** What a person calls it. */
    val name: String

    /** How many bytes a file has, by its path in the bundle; null: there is none. */
    fun size(path: String): Long?

    /** All bytes of a file; throws [IOException]. */
    fun read(path: String): ByteArray
}

/** A bundle in a folder. */
class Folder(private val root: Path) : Store {
    override val name = root.toString()

    override fun size(path: String): Long? =
        root.resolve(path).takeIf { Files.isRegularFile(it) }?.let { Files.size(it) }

    override fun read(path: String): ByteArray = Files.readAllBytes(root.resolve(path))
}

/**
 * A bundle, opened for reading.
 *
 * Opening reads the two .json files and checks that every file is there with its size. The bytes of a file are hashed by
 * [read], the only way to an artifact, so that a native library never sees an altered byte.
 *
 * @param later whether a file need not be here yet, as an expert that is delivered when it is first asked for
 */
class Bundle(private val store: Store, private val later: (Artifact) -> Boolean = { false }) {
    val name get() = store.name
    private val stated = parseManifest(json(MANIFEST), MANIFEST)
    private val operating = parseOperating(json(OPERATING), OPERATING, stated)

    /** What the bundle is; the first of its sets is the default. */
    val manifest: Manifest = operating.inOrder(stated)

    init {
        for (artifact in manifest.files) if (isHere(artifact) || !later(artifact)) checkSize(artifact)
    }

    /** The defaults and the operating points of one set. */
    fun operating(set: ArtifactSet): SetOperating = operating.sets.getValue(set.key)

    /** Whether a file is here, with whatever in it. */
    fun isHere(artifact: Artifact): Boolean = store.size(artifact.file) != null

    /** Whether a file is not here yet, and is one that comes when it is first asked for. */
    fun isToCome(artifact: Artifact): Boolean = !isHere(artifact) && later(artifact)

    /**
     * Return the bytes of a file, after comparing their number and SHA-256 with the manifest.
     *
     * Throws [IntegrityError]: it is missing, cut or altered.
     */
    fun read(artifact: Artifact): ByteArray {
        checkSize(artifact)
        val data = bytes(artifact.file)
        val found = sha256(data)
        if (found != artifact.sha256) {
            val (here, there) = listOf(found, artifact.sha256).map { it.take(12) }
            throw IntegrityError("${artifact.file} was altered: expected sha256 $there..., found $here...; $TODO")
        }
        return data
    }

    /** Read every file that is here once, as an app does with a bundle that came from elsewhere. Throws as [read]. */
    fun verify(onFile: (Artifact) -> Unit = {}) {
        for (artifact in manifest.files) {
            if (isToCome(artifact)) continue
            onFile(artifact)
            read(artifact)
        }
    }

    private fun checkSize(artifact: Artifact) {
        val size = store.size(artifact.file)
        if (size == artifact.bytes) return
        val found = if (size == null) "it is missing" else "it has $size"
        throw IntegrityError("${artifact.file} should have ${artifact.bytes} bytes, but $found; $TODO")
    }

    private fun json(file: String): ByteArray {
        val size =
            store.size(file) ?: throw BundleError("$name has no $file; expected a bundle, made by 'edge-moe convert'")
        if (size > MOST_JSON_BYTES) throw BundleError("$file has $size bytes, which no bundle has; $TODO")
        return bytes(file)
    }

    private fun bytes(file: String): ByteArray = try {
        store.read(file)
    } catch (error: IOException) {
        throw BundleError("$file cannot be read: ${error.message}; $TODO")
    }
}
